package redisstore_test

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/lease"
	"github.com/jobguard/jobguard/guard/lease/redisstore"
	"github.com/jobguard/jobguard/internal/redistest"
)

// released is what done was called with.
type released struct {
	lease.ReleaseReply
	err error
}

// releaseLater releases key, which waits for company, and returns where its outcome arrives.
func (p *process) releaseLater(key, owner string) chan released {
	p.t.Helper()
	outcome := make(chan released, 2)
	r := lease.ReleaseRequest{Key: key, Owner: owner}
	if !p.ReleaseLater(r, time.Second, func(reply lease.ReleaseReply, err error) { outcome <- released{reply, err} }) {
		p.t.Fatal("it should not wait")
	}
	return outcome
}

// waitingRelease releases key so that the release waits for company. On a busy machine an
// earlier request may be under way again, which is company: then once more.
func (p *process) waitingRelease(key string) (owner string, outcome chan released) {
	p.t.Helper()
	for range 50 {
		owner = p.NewOwner("")
		p.granted(key, owner)
		outcome = p.releaseLater(key, owner)
		time.Sleep(20 * time.Millisecond)
		if len(outcome) == 0 {
			return owner, outcome
		}
	}
	p.t.Fatal("no release waits for company")
	return owner, outcome
}

func await(t *testing.T, outcome chan released) released {
	t.Helper()
	select {
	case got := <-outcome:
		return got
	case <-time.After(waitLimit):
		t.Fatal("no outcome")
		return released{}
	}
}

// patient is a process whose releases wait for the next request for ever.
func patient(t *testing.T, client *redis.Client) *process {
	p := newProcess(t, client)
	redisstore.WaitForCompany(p.Store)
	return p
}

// asCaller acquires key as the engine does on a caller's goroutine.
func (p *process) asCaller(key string) error {
	attempt := lease.NewAttempt(time.Now().Add(5 * time.Second))
	defer attempt.End()
	reply, err := p.Acquire(attempt, lease.AcquireRequest{Key: key, Owner: p.NewOwner(""), TTL: ttl, TokenCount: 1})
	if err == nil && !reply.Granted {
		err = errors.New("refused")
	}
	return err
}

func TestReleaseLaterGoesWithTheNextRequest(t *testing.T) {
	p := patient(t, redistest.Start(t).Client(t))
	for name, request := range map[string]func(key string) error{
		"a caller's":  p.asCaller,
		"a batch":     func(key string) error { _, err := p.try(key, p.NewOwner(""), 0); return err },
		"a renewal":   func(string) error { return p.renew("elsewhere", "x").Err },
		"no request":  func(string) error { p.Hurry(); return nil },
		"its own kin": func(key string) error { return p.moreLater(key) },
	} {
		t.Run(name, func(t *testing.T) {
			key := "k " + name
			owner, outcome := p.waitingRelease(key)
			if p.value("guard:"+key) != owner {
				t.Error("released without company")
			}
			noError(t, request("other "+name))
			if got := await(t, outcome); got.err != nil || !got.Released && !got.Resent {
				t.Errorf("%+v", got)
			}
			if got := p.value("guard:" + key); got != "" {
				t.Errorf("held by %q", got)
			}
		})
	}
}

// moreLater sends so many later releases that they do not wait any more.
func (p *process) moreLater(key string) error {
	for i := range 7 {
		name, owner := key+strconv.Itoa(i), p.NewOwner("")
		p.granted(name, owner)
		p.ReleaseLater(lease.ReleaseRequest{Key: name, Owner: owner}, time.Second, func(lease.ReleaseReply, error) {})
	}
	return nil
}

func TestReleaseLaterIsSentSoonWithoutCompany(t *testing.T) {
	p := newProcess(t, redistest.Start(t).Client(t))
	for range 20 {
		owner := p.NewOwner("")
		p.granted("k", owner)
		if got := await(t, p.releaseLater("k", owner)); got.err != nil || !got.Released && !got.Resent {
			t.Errorf("%+v", got)
		}
	}
}

func TestReleaseLaterTellsWhoHasTheKey(t *testing.T) {
	p := patient(t, redistest.Start(t).Client(t))
	owner := p.NewOwner("")
	p.granted("k", owner)
	must(t, p.client.Set(t.Context(), "guard:k", "somebody", 0).Err())
	outcome := p.releaseLater("k", owner)
	must(t, p.asCaller("other"))
	if got := await(t, outcome); got.err != nil || got.Released {
		t.Errorf("%+v, want the answer that it was not the holder", got)
	}
	if got := p.value("guard:k"); got != "somebody" {
		t.Errorf("the key is held by %q", got)
	}
}

func TestReleaseLaterPassesTheKeyToAWaiterThatArrivedMeanwhile(t *testing.T) {
	server := redistest.Start(t)
	p, other := patient(t, server.Client(t)), newProcess(t, server.Client(t))
	waiter := other.NewOwner("")
	_, outcome := p.waitingRelease("k")
	other.refused("k", waiter, 0)
	must(t, p.asCaller("other"))
	if got := await(t, outcome); got.err != nil || !got.Released && !got.Resent {
		t.Errorf("%+v", got)
	}
	if got := p.value("guard:k"); got != waiter {
		t.Errorf("the key is held by %q, want the waiter", got)
	}
}

func TestReleaseLaterFailsWithTheRequestThatItGoesWith(t *testing.T) {
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server.Addr())
	p := patient(t, dial(t, proxy))
	must(t, p.asCaller("warm"))
	_, outcome := p.waitingRelease("lost")
	proxy.LoseNextReply("guard:lost")
	_ = p.asCaller("other") // it is sent again
	got := await(t, outcome)
	if got.err == nil || errors.Is(got.err, lease.ErrRefused) || !strings.Contains(got.err.Error(), "release") {
		t.Errorf("%+v, want an error that says that the outcome is not known", got)
	}
	select {
	case again := <-outcome:
		t.Errorf("told twice: %+v", again)
	case <-time.After(50 * time.Millisecond):
	}
}

func TestReleaseThatOthersMayWaitForIsNotSentLater(t *testing.T) {
	server := redistest.Start(t)
	p, other := newProcess(t, server.Client(t)), newProcess(t, server.Client(t))
	owner := p.NewOwner("")
	other.granted("contended", other.NewOwner(""))
	p.refused("contended", owner, 0)
	for name, r := range map[string]lease.ReleaseRequest{
		"contended":   {Key: "contended", Owner: owner},
		"a limit":     {Key: "k", Owner: owner, Limit: 2},
		"shared":      {Key: "k", Owner: owner, Limit: lease.Shared},
		"kept closed": {Key: "k", Owner: owner, KeepClosed: time.Second},
		"tokens left": {Key: "k", Owner: owner, Fence: 1, LastFence: 2},
	} {
		if p.ReleaseLater(r, time.Second, func(lease.ReleaseReply, error) { t.Errorf("%s: told", name) }) {
			t.Errorf("%s: it waits", name)
		}
	}
	p.Hurry() // nothing
	cluster := newProcess(t, redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{server.Addr()}}))
	t.Cleanup(func() { _ = cluster.client.Close() })
	if cluster.ReleaseLater(lease.ReleaseRequest{Key: "k", Owner: owner}, time.Second, nil) {
		t.Error("on a Cluster: it waits")
	}
	cluster.Hurry()
}

func TestReleaseLaterIsHurriedForTheNextCallerOfItsKey(t *testing.T) {
	store := redisstore.New(redistest.Start(t).Client(t))
	redisstore.WaitForCompany(store)
	g, err := guard.New(store, guard.AsyncRelease())
	must(t, err)
	for _, wait := range []guard.Option{guard.Forever(), guard.Wait(0), guard.Wait(20 * time.Second)} {
		for range 3 {
			must(t, g.With(wait).Do(within(t, 10*time.Second), "k", func(context.Context) error { return nil }))
		}
	}
	store.Hurry()
	must(t, g.Shutdown(t.Context()))
}
