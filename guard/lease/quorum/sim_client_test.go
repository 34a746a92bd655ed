package quorum

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jobguard/jobguard/guard/lease"
)

// simClient does what the engine does, with one lease at a time.
type simClient struct {
	w     *simWorld
	i     int
	rnd   *rand.Rand
	store *Store
	nodes []lease.Store

	wait *simWait // the present one
}

// simWait is a wait of the client for one key. It does what the engine does when it is woken.
type simWait struct {
	w     *simWorld
	woken chan struct{}

	mu      sync.Mutex
	resting bool        // no call is under way
	started lease.Grant // the wake-up that the run begins on
}

func (c *simWait) Woken(g lease.Grant) (taken bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if g.Fence != 0 && c.resting && time.Since(g.Since) < simTTL*3/4 {
		c.resting, c.started, taken = false, g, true
		c.w.onWakeUps.Add(1)
	}
	select {
	case c.woken <- struct{}{}:
	default:
	}
	return taken
}

// rest begins or ends the time in which a wake-up may start the run.
func (c *simWait) rest(on bool) (started lease.Grant) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.resting = on
	return c.started
}

func newSimClient(w *simWorld, i int, seed uint64) *simClient {
	c := &simClient{w: w, i: i, rnd: rand.New(rand.NewPCG(seed, uint64(100+i)))}
	for j, n := range w.nodes {
		var s lease.Store = &simStore{
			n: n, client: i, process: fmt.Sprintf("c%dn%d", i, j), owners: make(map[string]simOwner),
			rnd: rand.New(rand.NewPCG(seed, uint64(1000+simNodes*i+j))),
		}
		switch {
		case w.broken.noWriteBack:
			s = forgetful{s.(*simStore)}
		case w.broken.minorityGrant:
			s = eager{s.(*simStore), c}
		}
		c.nodes = append(c.nodes, s)
	}
	store, err := New(c.nodes...)
	if err != nil {
		panic(err)
	}
	jitters := rand.New(rand.NewPCG(seed, uint64(200+i)))
	var mu sync.Mutex
	store.random = func(n int64) int64 {
		mu.Lock()
		defer mu.Unlock()
		return jitters.Int64N(n)
	}
	c.store = store
	return c
}

// forgetful is a node that is not told tokens.
type forgetful struct{ *simStore }

func (f forgetful) Renew(ctx context.Context, rs []lease.RenewRequest) []lease.RenewReply {
	without := make([]lease.RenewRequest, len(rs))
	for i, r := range rs {
		r.Fence = 0
		without[i] = r
	}
	return f.simStore.Renew(ctx, without)
}

// eager is a node of which one wake-up is enough to start.
type eager struct {
	*simStore
	c *simClient
}

func (e eager) Watch(owner string, waker lease.Waker) {
	wait := e.c.wait
	e.simStore.Watch(owner, lease.WakeFunc(func(g lease.Grant) bool { return wait.Woken(g) || waker.Woken(lease.Grant{}) }))
}

// run contends until the client was served after healing, or is too late.
func (c *simClient) run() {
	for !c.w.allServed() && time.Since(c.w.began) < simTrouble+simServed {
		time.Sleep(rand2(c.rnd, 250*time.Millisecond))
		c.once([]string{"a", "b"}[c.rnd.IntN(c.w.keys)])
	}
}

// once waits for key and runs under it.
func (c *simClient) once(key string) {
	owner := c.store.NewOwner("")
	wait := &simWait{w: c.w, woken: make(chan struct{}, 1)}
	c.wait = wait
	c.store.Watch(owner, wait)
	place := lease.Place{Reservation: simTTL, Poll: simTTL / 2}
	r := lease.AcquireRequest{
		Key: key, Owner: owner, TTL: simTTL, Join: c.rnd.IntN(8) > 0, Place: place, TokenCount: 1 + c.rnd.IntN(2)*500,
	}
	end := c.w.began.Add(simTrouble + simServed)
	var unknown time.Time
	for time.Now().Before(end) {
		deadline := time.Now().Add([]time.Duration{100 * time.Millisecond, simTTL - simMargin}[c.rnd.IntN(2)])
		a := lease.NewAttempt(deadline)
		sent := time.Now()
		reply, err := c.store.Acquire(a, r)
		a.End()
		if !reply.Sent.IsZero() {
			sent = reply.Sent
		}
		if c.w.broken.trustFromReply {
			sent = time.Now()
		}
		if err != nil && deadline.After(unknown) {
			unknown = deadline
		}
		if trust := sent.Add(simTTL - simMargin); reply.Granted && time.Now().Before(trust) {
			c.store.Unwatch(owner)
			c.hold(key, owner, reply, trust, unknown, simTTL/3)
			return
		}
		if !r.Join || c.rnd.IntN(40) == 0 && !c.w.healed() {
			break // tried once, or gives up
		}
		pause := 60*time.Millisecond + rand2(c.rnd, 190*time.Millisecond)
		if reply.Remaining > 0 && reply.Remaining < pause {
			pause = reply.Remaining + time.Millisecond
		}
		if err != nil {
			pause = rand2(c.rnd, 100*time.Millisecond)
		}
		wait.rest(err == nil)
		t := time.NewTimer(pause)
		select {
		case <-wait.woken:
		case <-t.C:
		}
		t.Stop()
		if g := wait.rest(false); g.Fence != 0 {
			c.store.Unwatch(owner)
			c.hold(key, owner, lease.AcquireReply{Fence: g.Fence, TokenCount: 1}, g.Since.Add(simTTL-simMargin), unknown, 10*time.Millisecond)
			return
		}
	}
	c.store.Unwatch(owner)
	c.release(lease.ReleaseRequest{Key: key, Owner: owner, Place: place}, unknown)
}

// hold is the run: one or two holds of the lease, renewed meanwhile.
func (c *simClient) hold(key, owner string, reply lease.AcquireReply, trust, unknown time.Time, first time.Duration) {
	run := &simRun{client: c.i, until: trust}
	c.w.enter(key, run, reply.Fence)
	work := rand2(c.rnd, 8*time.Millisecond)
	switch long := c.rnd.IntN(8); {
	case c.w.healed(): // the bound is for waiting, not for others' work
	case long <= 1:
		work = rand2(c.rnd, 2*simTTL)
	case long <= 3:
		work = rand2(c.rnd, 200*time.Millisecond)
	}
	used := reply.Fence
	done := time.Now().Add(work)
	renewal := time.Now().Add(first)
	for time.Now().Before(done) && time.Now().Before(trust) {
		next := done
		for _, at := range []time.Time{renewal, trust} {
			if at.Before(next) {
				next = at
			}
		}
		time.Sleep(time.Until(next))
		if !time.Now().Before(renewal) && time.Now().Before(trust) {
			sent := time.Now()
			held, err := c.renew(key, owner, &sent)
			switch {
			case err != nil:
				renewal = time.Now().Add(20 * time.Millisecond)
			case !held:
				trust = time.Now()
			default:
				if until := sent.Add(simTTL - simMargin); until.After(trust) && time.Now().Before(trust) {
					trust = until
				}
				renewal = sent.Add(simTTL / 3)
			}
			c.w.extend(run, trust)
		}
	}
	if last := reply.Fence + int64(reply.TokenCount) - 1; used < last && time.Now().Before(trust) && c.rnd.IntN(2) == 0 {
		used += 1 + c.rnd.Int64N(last-used) // a local handoff
		c.w.enter(key, run, used)
	}
	c.w.leave(key, run)
	c.release(lease.ReleaseRequest{
		Key: key, Owner: owner, Place: lease.Place{Reservation: simTTL, Poll: simTTL / 2},
		Fence: used, LastFence: reply.Fence + int64(reply.TokenCount) - 1,
	}, unknown)
}

func (c *simClient) renew(key, owner string, sent *time.Time) (held bool, err error) {
	a := lease.NewAttempt(time.Now().Add(250 * time.Millisecond))
	defer a.End()
	r := lease.RenewRequest{Key: key, Owner: owner, TTL: simTTL}
	if c.w.broken.minorityRenewal {
		return c.renewByAny(a, r), nil
	}
	reply := c.store.Renew(a, []lease.RenewRequest{r})[0]
	if !reply.Sent.IsZero() {
		*sent = reply.Sent
	}
	if c.w.broken.trustFromReply {
		*sent = time.Now()
	}
	return reply.Held, reply.Err
}

// renewByAny is a renewal that a minority is enough for.
func (c *simClient) renewByAny(ctx context.Context, r lease.RenewRequest) bool {
	var held atomic.Bool
	var wg sync.WaitGroup
	for i, n := range c.nodes {
		wg.Go(func() {
			r := r
			r.Owner = c.store.presentID(i, r.Owner)
			if reply := n.Renew(ctx, []lease.RenewRequest{r})[0]; reply.Err == nil && reply.Held {
				held.Store(true)
			}
		})
	}
	wg.Wait()
	return held.Load()
}

// release gives back, as often as the engine does.
func (c *simClient) release(r lease.ReleaseRequest, unknown time.Time) {
	once := func() error {
		a := lease.NewAttempt(time.Now().Add(250 * time.Millisecond))
		defer a.End()
		_, err := c.store.Release(a, r)
		return err
	}
	for range 4 {
		if once() == nil {
			break
		}
		r.Fence, r.LastFence = 0, 0
	}
	if unknown.After(time.Now()) {
		time.AfterFunc(time.Until(unknown)+time.Millisecond, func() { _ = once() })
	}
}
