package redisstore_test

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/jobguard/jobguard/guard/lease"
	"github.com/jobguard/jobguard/guard/lease/redisstore"
	"github.com/jobguard/jobguard/internal/redistest"
)

// listen serves each connection by answer, and returns its address.
func listen(t *testing.T, answer func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { _ = l.Close() })
	go func() { // ends when l is closed
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = c.Close() }()
				answer(c)
			}()
		}
	}()
	return l.Addr().String()
}

// says answers the first request with text.
func says(text string) func(net.Conn) {
	return func(c net.Conn) {
		_, _ = c.Read(make([]byte, 4096))
		_, _ = io.WriteString(c, text)
		_, _ = c.Read(make([]byte, 4096)) // until the client closes
	}
}

func clientOf(t *testing.T, addr string) *redis.Client {
	t.Helper()
	c := redis.NewClient(&redis.Options{Addr: addr})
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// A peer that is no Redis will not become one: the engine must not try it for a TTL.
func TestPeersThatAreNoRedisAreRefusals(t *testing.T) {
	closed := clientOf(t, "127.0.0.1:1")
	_ = closed.Close()
	for name, c := range map[string]struct {
		client *redis.Client
		text   string
	}{
		"closed client": {closed, "client is closed"},
		"HTTP":          {clientOf(t, listen(t, says("HTTP/1.1 400 Bad Request\r\n\r\n"))), "does not speak the protocol"},
		"memcached":     {clientOf(t, listen(t, says("ERROR\r\n"))), "does not speak the protocol"},
		"mail":          {clientOf(t, listen(t, says("220 mail ESMTP\r\n"))), "does not speak the protocol"},
		"no command":    {clientOf(t, listen(t, says("-ERR unknown command 'evalsha'\r\n-ERR unknown command\r\n-ERR unknown command\r\n-ERR unknown command\r\n"))), "unknown command"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newProcess(t, c.client)
			_, err := p.try("k", p.NewOwner(""), 0)
			if !errors.Is(err, lease.ErrRefused) || !strings.Contains(err.Error(), c.text) {
				t.Errorf("%v, want a refusal that says %q", err, c.text)
			}
		})
	}
}

func TestConnectionsClosedWithoutAnAnswer(t *testing.T) {
	server := redistest.Start(t)
	t.Run("from the start are temporary, and the error names TLS", func(t *testing.T) {
		p := newProcess(t, clientOf(t, listen(t, func(c net.Conn) { _, _ = c.Read(make([]byte, 4096)) })))
		var err error
		for range 5 {
			if _, err = p.try("k", p.NewOwner(""), 0); errors.Is(err, lease.ErrRefused) || !errors.Is(err, io.EOF) {
				t.Error(err)
			}
		}
		if !strings.Contains(err.Error(), "expect TLS") {
			t.Error(err)
		}
	})
	t.Run("after an answer are temporary", func(t *testing.T) {
		proxy := redistest.NewProxy(t, server.Addr())
		p := newProcess(t, clientOf(t, proxy.Addr()))
		p.granted("k", p.NewOwner(""))
		for range 5 {
			proxy.Cut()
			if _, err := p.try("k", p.NewOwner(""), 0); errors.Is(err, lease.ErrRefused) {
				t.Error(err)
			}
		}
	})
}

func TestTLSThatTheServerDoesNotSpeakIsARefusal(t *testing.T) {
	c := redis.NewClient(&redis.Options{
		Addr:      listen(t, says("HTTP/1.1 400 Bad Request\r\n\r\n")),
		TLSConfig: &tls.Config{ServerName: "redis.example", MinVersion: tls.VersionTLS12},
	})
	t.Cleanup(func() { _ = c.Close() })
	p := newProcess(t, c)
	if _, err := p.try("k", p.NewOwner(""), 0); !errors.Is(err, lease.ErrRefused) || !strings.Contains(err.Error(), "TLS") {
		t.Error(err)
	}
}

// Locks of other libraries are hashes, sorted sets and others.
func TestKeyOfAnotherTypeIsAForeignLock(t *testing.T) {
	admin := redistest.Start(t).Client(t)
	p := newProcess(t, admin, redisstore.Prefix(""))
	ctx := t.Context()
	admin.HSet(ctx, "hash", "a", 1)
	admin.ZAdd(ctx, "zset", redis.Z{Score: 1, Member: "a"})
	admin.LPush(ctx, "list", "a")
	admin.SAdd(ctx, "set", "a")
	for _, kind := range []string{"hash", "zset", "list", "set"} {
		t.Run(kind, func(t *testing.T) {
			want := "a " + kind + " of another program"
			admin.PExpire(ctx, kind, time.Minute)
			for _, limit := range []lease.Limit{lease.Exclusive, lease.Shared, 3} {
				owner := p.NewOwner("")
				r := lease.AcquireRequest{Key: kind, Owner: owner, TTL: time.Second, Limit: limit, Join: true, Place: lease.Place{Reservation: time.Second}, TokenCount: 1}
				reply, err := p.Acquire(within(t, time.Second), r)
				if err != nil || reply.Granted || reply.Holder != want || reply.Remaining <= 0 || reply.Ticket == 0 {
					t.Errorf("acquire, limit %d: %+v, %v", limit, reply, err)
				}
				renewed := p.Renew(within(t, time.Second), []lease.RenewRequest{{Key: kind, Owner: owner, TTL: time.Second, Limit: limit}})[0]
				if renewed.Err != nil || renewed.Held || renewed.Holder != want {
					t.Errorf("renew, limit %d: %+v", limit, renewed)
				}
				released, err := p.Release(within(t, time.Second), lease.ReleaseRequest{Key: kind, Owner: owner, Limit: limit, Place: lease.Place{Reservation: time.Second}})
				if err != nil || released.Released {
					t.Errorf("release, limit %d: %+v, %v", limit, released, err)
				}
			}
			if h, err := p.FindHolder(within(t, time.Second), kind); err != nil || h.Owner != want || h.Remaining <= 0 {
				t.Errorf("holder: %+v, %v", h, err)
			}
			if admin.Exists(ctx, kind).Val() != 1 {
				t.Error("the foreign lock is gone")
			}
			admin.Del(ctx, kind)
			p.granted(kind, p.NewOwner(""))
		})
	}
}

func TestFullMemoryLosesNoLeaseWithALimit(t *testing.T) {
	server := redistest.Start(t)
	p := newProcess(t, server.Client(t))
	owners := map[lease.Limit]string{lease.Exclusive: p.NewOwner(""), lease.Shared: p.NewOwner(""), 2: p.NewOwner("")}
	next := map[lease.Limit]string{}
	key := func(limit lease.Limit) string {
		return map[lease.Limit]string{lease.Exclusive: "x", lease.Shared: "s", 2: "l"}[limit]
	}
	for limit, owner := range owners {
		reply, err := p.Acquire(within(t, time.Second), lease.AcquireRequest{Key: key(limit), Owner: owner, TTL: time.Minute, Limit: limit, TokenCount: 100})
		if err != nil || !reply.Granted {
			t.Fatal(reply, err)
		}
		next[limit] = p.NewOwner("") // an exclusive waiter behind it
		p.refused(key(limit), next[limit], 0)
	}
	p.client.ConfigSet(t.Context(), "maxmemory", "1")
	for limit, owner := range owners {
		if r := p.Renew(within(t, time.Second), []lease.RenewRequest{{Key: key(limit), Owner: owner, TTL: time.Minute, Limit: limit}})[0]; !r.Held || r.Err != nil {
			t.Errorf("renew, limit %d: %+v", limit, r)
		}
		// Of the tokens that it was given the exclusive owner has used one.
		r := lease.ReleaseRequest{Key: key(limit), Owner: owner, Limit: limit, Place: lease.Place{Reservation: time.Minute}}
		if limit == lease.Exclusive {
			r.Fence, r.LastFence = 1, 2
		}
		if reply, err := p.Release(within(t, time.Second), r); err != nil || !reply.Released {
			t.Errorf("release, limit %d: %+v, %v", limit, reply, err)
		}
		p.granted(key(limit), next[limit])
	}
}
