package redisstore_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/jobguard/jobguard/guard/lease"
	"github.com/jobguard/jobguard/guard/lease/redisstore"
	"github.com/jobguard/jobguard/internal/redistest"
)

func TestAcquireThatArrivesLateIsRefused(t *testing.T) {
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server.Addr())
	p := newProcess(t, dial(t, proxy))
	p.granted("warm", p.NewOwner(""))
	held := proxy.HoldNextRequest("guard:k")
	owner := p.NewOwner("")
	_, err := p.Acquire(within(t, 100*time.Millisecond), lease.AcquireRequest{Key: "k", Owner: owner, TTL: ttl, TokenCount: 1})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	p.release("k", owner)
	held.Deliver(t)
	if got := server.Client(t).Get(t.Context(), "guard:k").Val(); got != "" {
		t.Errorf("held by %q", got)
	}
}

func dial(t testing.TB, proxy *redistest.Proxy, opts ...func(*redis.Options)) *redis.Client {
	o := &redis.Options{Addr: proxy.Addr()}
	for _, opt := range opts {
		opt(o)
	}
	client := redis.NewClient(o)
	t.Cleanup(func() { client.Close() })
	return client
}

func TestFlushedScriptsAreSentAgain(t *testing.T) {
	p := newProcess(t, redistest.Start(t).Client(t))
	flush := func() { p.client.ScriptFlush(t.Context()) }
	for i := range 3 {
		owner, at := p.NewOwner(""), time.Unix(int64(i), 0)
		flush()
		p.granted("k", owner)
		flush()
		if r := p.renew("k", owner); !r.Held {
			t.Errorf("%+v", r)
		}
		flush()
		if !p.release("k", owner) {
			t.Error("not released")
		}
		flush()
		if reply, err := p.ClaimTick(within(t, time.Second), lease.TickRequest{Key: "k", Owner: owner, At: at}); err != nil || !reply.Claimed {
			t.Errorf("ClaimTick() = %+v, %v", reply, err)
		}
		flush()
		if ended, err := p.EndTick(within(t, time.Second), lease.TickEnd{Key: "k", Owner: owner, At: at}); err != nil || !ended {
			t.Errorf("EndTick() = %t, %v", ended, err)
		}
	}
	t.Run("in pipelines", func(t *testing.T) {
		rs := make([]lease.RenewRequest, 300)
		var all sync.WaitGroup
		for i := range rs {
			rs[i] = lease.RenewRequest{Key: fmt.Sprint("k", i), Owner: p.NewOwner(""), TTL: ttl}
			all.Go(func() {
				if a, err := p.try(rs[i].Key, rs[i].Owner, 0); err != nil || !a.Granted {
					t.Error(a, err)
				}
			})
		}
		all.Wait()
		flush()
		for i, r := range p.Renew(within(t, 5*time.Second), rs) {
			if !r.Held || r.Err != nil {
				t.Errorf("%d: %+v", i, r)
			}
		}
	})
}

func TestErrorsThatARetryKeepsAreRefusals(t *testing.T) {
	server := redistest.Start(t)
	admin := server.Client(t)
	ctx := t.Context()
	refusedAll := func(t *testing.T, p *process, text string) {
		t.Helper()
		_, err := p.try("k", p.NewOwner(""), 0)
		if !errors.Is(err, lease.ErrRefused) || !strings.Contains(err.Error(), text) {
			t.Errorf("acquire: %v", err)
		}
	}
	t.Run("wrong type of counter", func(t *testing.T) {
		p := newProcess(t, admin, redisstore.Prefix("wf:"))
		p.granted("k", p.NewOwner(""))
		counter := admin.Keys(ctx, "wf:tokens:*").Val()[0]
		admin.Del(ctx, counter, "wf:k")
		admin.LPush(ctx, counter, "x")
		refusedAll(t, p, "WRONGTYPE")
		if admin.Exists(ctx, "wf:k").Val() != 0 {
			t.Error("a refused acquire left a lease")
		}
	})
	t.Run("no permission for keys", func(t *testing.T) {
		admin.ACLSetUser(ctx, "limited", "on", ">pw", "+@all", "~other:*", "&*")
		p := newProcess(t, server.Client(t, as("limited", "pw")), redisstore.Prefix("np:"))
		refusedAll(t, p, "NOPERM")
	})
	t.Run("no permission inside the script", func(t *testing.T) {
		admin.ACLSetUser(ctx, "noset", "on", ">pw", "+@all", "-set", "~*", "&*")
		p := newProcess(t, server.Client(t, as("noset", "pw")), redisstore.Prefix("ns:"))
		refusedAll(t, p, "script")
	})
	t.Run("wrong password", func(t *testing.T) {
		refusedAll(t, newProcess(t, server.Client(t, as("limited", "no"))), "WRONGPASS")
	})
	t.Run("no password", func(t *testing.T) {
		locked := redistest.Start(t)
		client := locked.Client(t)
		must(t, client.ConfigSet(ctx, "requirepass", "pw").Err())
		refusedAll(t, newProcess(t, locked.Client(t)), "wants a password")
	})
}

func as(user, password string) func(*redis.Options) {
	return func(o *redis.Options) { o.Username, o.Password = user, password }
}

func TestFullMemoryRefusesAcquiresButNotReleases(t *testing.T) {
	server := redistest.Start(t)
	p := newProcess(t, server.Client(t))
	former := p.NewOwner("")
	p.granted("c", former)
	p.granted("other", p.NewOwner(""))
	p.client.ConfigSet(t.Context(), "maxmemory", "1")
	for _, key := range []string{"new", "other"} { // to hold, to wait
		_, err := p.try(key, p.NewOwner(""), 0)
		if !errors.Is(err, lease.ErrRefused) || !strings.Contains(err.Error(), "OOM") {
			t.Errorf("%s: %v", key, err)
		}
	}
	if n := p.client.Exists(t.Context(), "guard:new").Val(); n != 0 {
		t.Error("a refused acquire left a lease")
	}
	if names := p.client.Keys(t.Context(), "guard:w:*").Val(); len(names) != 0 {
		t.Errorf("a refused acquire waits in the queue: %q", names)
	}
	r, err := p.Release(within(t, time.Second), lease.ReleaseRequest{Key: "c", Owner: former, KeepClosed: time.Second})
	if err != nil || !r.Released || p.value("guard:c") != lease.ClosedMarker(former) {
		t.Errorf("keep closed: %+v, %v, %q", r, err, p.value("guard:c"))
	}
}

func TestTemporaryErrorsAreNoRefusals(t *testing.T) {
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server.Addr())
	p := newProcess(t, dial(t, proxy))
	for _, text := range []string{
		"LOADING Redis is loading the dataset in memory", "CLUSTERDOWN Hash slot not served", "TRYAGAIN Multiple keys request during rehashing of slot",
		"MASTERDOWN Link with MASTER is down", "BUSY Redis is busy running a script", "READONLY You can't write against a read only replica.",
		"MISCONF Redis is configured to save RDB snapshots", "NOREPLICAS Not enough good replicas to write.", "ERR max number of clients reached",
	} {
		proxy.AnswerErr(text)
		notRefused(t, p, text)
	}
	notRefused(t, newProcess(t, redistest.StartReplica(t, server).Client(t)), "READONLY")
	proxy.AnswerErr("OOM command not allowed when used memory > 'maxmemory'.")
	if _, err := p.try("k", p.NewOwner(""), 0); !errors.Is(err, lease.ErrRefused) {
		t.Error(err)
	}
	proxy.AnswerErr("ERR Error running script (call to f_1): @user_script:1: @user_script: 1: -OOM command not allowed when used memory > 'maxmemory'.")
	if _, err := p.try("k", p.NewOwner(""), 0); !errors.Is(err, lease.ErrRefused) {
		t.Errorf("Redis 6: %v", err)
	}
}

func notRefused(t *testing.T, p *process, text string) {
	t.Helper()
	_, err := p.try("k", p.NewOwner(""), 0)
	if err == nil || errors.Is(err, lease.ErrRefused) || !strings.Contains(err.Error(), text) {
		t.Errorf("%s: %v", text, err)
	}
}

// The connection that loses the reply may take the rest of a pipeline with it.
func TestLostReplyIsNotSentAgain(t *testing.T) {
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server.Addr())
	p := newProcess(t, dial(t, proxy))
	admin := server.Client(t)
	owner := p.NewOwner("")
	p.granted("k", owner)
	p.renew("k", owner)
	scripts := func() (calls int) {
		for line := range strings.Lines(admin.Info(t.Context(), "commandstats").Val()) {
			if n, found := strings.CutPrefix(line, "cmdstat_evalsha:calls="); found {
				_, err := fmt.Sscanf(n, "%d,", &calls)
				noError(t, err)
			}
		}
		return calls
	}
	for _, sent := range []int{1, 3} {
		undisturbed(t, func() (wrong string) {
			admin.ConfigResetStat(t.Context())
			trap := proxy.LoseNextReply("guard:k")
			r := lease.RenewRequest{Key: "k", Owner: owner, TTL: ttl}
			if p.Renew(within(t, 5*time.Second), slices.Repeat([]lease.RenewRequest{r}, sent))[sent-1].Err == nil {
				wrong = fmt.Sprintf("%d sent: no error", sent)
			}
			trap.Wait(t)
			if got := scripts(); got < 1 || got > sent {
				wrong = fmt.Sprintf("%d sent, and the server ran %d", sent, got)
			}
			return wrong
		})
	}
}

func TestHangingConnectionDelaysNoOtherCall(t *testing.T) {
	for _, contextTimeouts := range []bool{false, true} {
		t.Run(fmt.Sprint("ContextTimeoutEnabled=", contextTimeouts), func(t *testing.T) {
			server := redistest.Start(t)
			proxy := redistest.NewProxy(t, server.Addr())
			p := newProcess(t, dial(t, proxy, func(o *redis.Options) { o.ContextTimeoutEnabled = contextTimeouts }))
			p.granted("warm", p.NewOwner(""))
			proxy.Blackhole(redistest.Both)
			var all sync.WaitGroup
			for i := range 40 { // more than there are flushers
				all.Go(func() {
					began := time.Now()
					_, err := p.Acquire(within(t, 200*time.Millisecond), lease.AcquireRequest{Key: fmt.Sprint(i), Owner: p.NewOwner(""), TTL: ttl, TokenCount: 1})
					if took := time.Since(began); err == nil || took > 1500*time.Millisecond {
						t.Errorf("%v after %v", err, took)
					}
				})
			}
			all.Wait()
			proxy.Heal()
			began := time.Now()
			p.granted("after", p.NewOwner(""))
			if took := time.Since(began); took > 1500*time.Millisecond {
				t.Errorf("after the proxy was healed a request took %v", took)
			}
			for i := range 40 {
				if got := p.value(fmt.Sprint("guard:", i)); got != "" {
					t.Errorf("key %d is held by an abandoned request", i)
				}
			}
		})
	}
}
