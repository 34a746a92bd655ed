package redisstore_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/jobguard/jobguard/guard/lease"
	"github.com/jobguard/jobguard/guard/lease/redisstore"
	"github.com/jobguard/jobguard/internal/redistest"
)

// silent returns a process whose n pooled connections have all been dropped without a
// word, and a client that goes directly to the server.
func silent(t *testing.T, n int, opts ...redisstore.Option) (p *process, direct *redis.Client) {
	t.Helper()
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server.Addr())
	p, direct = newProcess(t, dial(t, proxy), opts...), server.Client(t)
	if len(opts) > 0 {
		redistest.StartReplica(t, server)
	}
	p.granted("warm", p.NewOwner(""))
	var all sync.WaitGroup
	for range n {
		all.Go(func() { p.client.BLPop(t.Context(), time.Second, "nothing") })
	}
	all.Wait()
	if got := proxy.Forget(); got < n {
		t.Fatalf("%d connections", got)
	}
	return p, direct
}

func connections(t *testing.T, direct *redis.Client) int {
	t.Helper()
	return strings.Count(direct.ClientList(t.Context()).Val(), "\n")
}

// Each kind of call, each behind silent connections of its own.
func TestCallsAreSentAgainOverAFreshConnection(t *testing.T) {
	t.Parallel()
	owner := func(p *process) string { return lease.OwnerID(lease.OwnerProcess(p.NewOwner("")), 0, "name", "") }
	calls := map[string]func(ctx context.Context, p *process) error{
		"Acquire": func(ctx context.Context, p *process) error {
			r, err := p.Acquire(ctx, lease.AcquireRequest{Key: "free", Owner: p.NewOwner(""), TTL: ttl, Place: lease.Place{Reservation: reservation}, TokenCount: 1})
			if err == nil && !r.Granted {
				err = fmt.Errorf("%+v", r)
			}
			return err
		},
		"Renew": func(ctx context.Context, p *process) error {
			rs := []lease.RenewRequest{{Key: "k", Owner: owner(p), TTL: ttl}, {Key: "k", Owner: owner(p), TTL: ttl}}
			for _, r := range p.Renew(ctx, rs) {
				if r.Err != nil || !r.Held {
					return fmt.Errorf("%+v", r)
				}
			}
			return nil
		},
		"Release": func(ctx context.Context, p *process) error {
			r, err := p.Release(ctx, lease.ReleaseRequest{Key: "k", Owner: owner(p), Place: lease.Place{Reservation: reservation}})
			if err == nil && !r.Released && !r.Resent {
				err = fmt.Errorf("%+v", r)
			}
			return err
		},
		"FindHolder": func(ctx context.Context, p *process) error {
			h, err := p.FindHolder(ctx, "k")
			if err == nil && h.Owner != "name" {
				err = fmt.Errorf("%+v", h)
			}
			return err
		},
		"ClaimTick": func(ctx context.Context, p *process) error {
			r, err := p.ClaimTick(ctx, lease.TickRequest{Key: "k", Owner: owner(p), At: time.Unix(1, 0), MaxAhead: -1})
			if err == nil && !r.Claimed {
				err = fmt.Errorf("%+v", r)
			}
			return err
		},
	}
	for name, opts := range map[string][]redisstore.Option{"": nil, ", ReplicaAck": {redisstore.ReplicaAck(1, 2*time.Second)}} {
		for what, call := range calls {
			for _, short := range []bool{false, true} { // as the engine calls them, and as others do
				t.Run(fmt.Sprintf("%s%s, lease.Attempt %v", what, name, short), func(t *testing.T) {
					t.Parallel()
					p, direct := silent(t, 3, opts...)
					must(t, direct.Set(t.Context(), "guard:k", owner(p), 0).Err())
					ctx := within(t, 8*time.Second)
					if short {
						attempt := lease.NewAttempt(time.Now().Add(8 * time.Second))
						defer attempt.End()
						ctx = attempt
					}
					start := time.Now()
					if err := call(ctx, p); err != nil {
						t.Error(err)
					}
					if took := time.Since(start); took > 4500*time.Millisecond { // the client's ReadTimeout is 5 s
						t.Errorf("took %v", took)
					}
				})
			}
		}
	}
}

// The connections that are silent too are closed, and those for second attempts when
// they have not been used for some seconds: then there are as many as before.
func TestSilentAndSpareConnectionsAreClosed(t *testing.T) {
	t.Parallel()
	const conns = 5
	p, direct := silent(t, conns)
	before := connections(t, direct)
	client := p.client.(*redis.Client)
	p.granted("k", p.NewOwner(""))
	eventually(t, "no silent connection in the pool", func() bool {
		return client.PoolStats().TotalConns < conns-1 && client.PoolStats().TotalConns == client.PoolStats().IdleConns
	})
	if n := connections(t, direct); n <= before {
		t.Errorf("%d connections, %d before: no fresh one was made", n, before)
	}
	must(t, client.Close())
	// To the server the silent ones are still there: the proxy has them. What the
	// client has closed since does not show either.
	eventually(t, "no spare connection", func() bool { return connections(t, direct) <= before })
}

// The reply of the first request comes after a second one was sent, and counts from
// when the first was sent.
func TestEarlierOfTwoRequestsMayBeAnsweredFirst(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server.Addr())
	p := newProcess(t, dial(t, proxy))
	p.granted("warm", p.NewOwner(""))
	first := proxy.HoldNextReply("evalsha", "guard:k")
	second := proxy.HoldNextRequest("evalsha", "guard:k")
	start := time.Now()
	var answered time.Time // when the first was executed, before the second was sent
	go func() {
		<-first.Sprung()
		answered = time.Now()
		select {
		case <-second.Sprung():
		case <-time.After(5 * time.Second):
		}
		first.Release()
	}()
	r, err := p.Acquire(within(t, 8*time.Second), lease.AcquireRequest{Key: "k", Owner: p.NewOwner(""), TTL: ttl, Place: lease.Place{Reservation: reservation}, TokenCount: 1})
	if err != nil || !r.Granted {
		t.Fatalf("%+v, %v", r, err)
	}
	if r.Sent.Before(start) || r.Sent.After(answered) {
		t.Errorf("the answered request left %v after the call began, and was executed by %v", r.Sent.Sub(start), answered.Sub(start))
	}
	if r.Unanswered.IsZero() {
		t.Error("no word of the second request, which is still under way")
	}
	second.Release()
}
