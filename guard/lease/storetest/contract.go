package storetest

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jobguard/jobguard/guard/lease"
)

const (
	// long outlives any subtest, on any machine.
	long = 60 * time.Second
	// shortest is the default of Fixture.Short.
	shortest = 250 * time.Millisecond
	// patience bounds the wait for what must happen.
	patience = 10 * time.Second
	// rounding is how much early, by our clock, a lease may end: servers keep
	// milliseconds.
	rounding = 5 * time.Millisecond
)

// contract is one subtest's view of a fixture.
type contract struct {
	*testing.T
	Fixture

	ctx   context.Context
	run   string        // in every key, so that no two subtests share one
	short time.Duration // a time that a subtest waits for
	slow  atomic.Bool   // a call took long
}

func newContract(t *testing.T, f Fixture) *contract {
	if f.A == nil || f.B == nil {
		t.Fatal("storetest: Fixture.A and Fixture.B are required")
	}
	// The attempt's timeout that every call must carry.
	ctx, cancel := context.WithTimeout(t.Context(), long)
	t.Cleanup(cancel)
	return &contract{T: t, Fixture: f, ctx: ctx, run: rand.Text()[:8], short: cmp.Or(f.Short, shortest)}
}

func (c *contract) key(name string) string { return c.run + ":" + name }

// client is one owner of one key, through one of the stores.
type client struct {
	c           *contract
	store       lease.Store
	key         string
	owner       string
	limit       lease.Limit
	ticket      int64
	reservation time.Duration
	poll        time.Duration // 0: never presumed dead
	unanswered  time.Time     // until when a request of contend may take effect; zero: none
}

func (c *contract) client(store lease.Store, key string) *client {
	return &client{c: c, store: store, key: key, owner: store.NewOwner(""), reservation: long}
}

// reader is a client with a shared lease.
func (c *contract) reader(store lease.Store, key string) *client {
	return c.limited(store, key, lease.Shared)
}

// limited is a client with a limit of its own.
func (c *contract) limited(store lease.Store, key string, limit lease.Limit) *client {
	n := c.client(store, key)
	n.limit = limit
	return n
}

// holder returns a client that holds key for ttl.
func (c *contract) holder(store lease.Store, key string, ttl time.Duration) *client {
	c.Helper()
	h := c.client(store, key)
	h.mustHold(ttl)
	return h
}

// waiter returns a client that waits last in the queue of key, which is held.
func (c *contract) waiter(store lease.Store, key string, reservation time.Duration) *client {
	c.Helper()
	w := c.client(store, key)
	w.reservation = reservation
	w.mustWait()
	return w
}

// ask asks once, without joining.
func (n *client) ask(ttl time.Duration) lease.AcquireReply {
	n.c.Helper()
	return n.acquire(lease.AcquireRequest{TTL: ttl})
}

// join asks, and waits in the queue if it is not granted.
func (n *client) join(ttl time.Duration) lease.AcquireReply {
	n.c.Helper()
	reply := n.acquire(lease.AcquireRequest{TTL: ttl, Join: true})
	if !reply.Granted {
		n.ticket = reply.Ticket
	}
	return reply
}

func (n *client) acquire(r lease.AcquireRequest) lease.AcquireReply {
	n.c.Helper()
	r.Key, r.Owner, r.Limit, r.Ticket, r.Reservation = n.key, n.owner, n.limit, n.ticket, n.reservation
	r.Poll = n.poll
	r.TokenCount = max(1, r.TokenCount)
	var reply lease.AcquireReply
	if err := n.c.answered(func() (err error) { reply, err = n.store.Acquire(n.c.ctx, r); return err }); err != nil {
		n.c.Fatalf("Acquire(%q): %v", n.key, err)
	}
	n.c.wellFormed(r, reply)
	return reply
}

// answered repeats a call that fails if the machine has stood still in this subtest: a store may give its
// servers only a part of a short TTL to answer, and refuse to ask again while an earlier request is under
// way. A call that fails in a subtest whose calls take no time does so for another reason.
func (c *contract) answered(call func() error) error {
	for began := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		err := call()
		took := time.Since(began)
		if took > c.short/8 {
			c.slow.Store(true)
		}
		if err == nil || errors.Is(err, lease.ErrRefused) || !c.slow.Load() || took > patience {
			return err
		}
	}
}

// wellFormed checks what every reply to Acquire must satisfy.
func (c *contract) wellFormed(r lease.AcquireRequest, reply lease.AcquireReply) {
	c.Helper()
	switch {
	case reply.Granted && r.Limit != lease.Exclusive:
		if reply.Fence != 0 || reply.TokenCount != 0 {
			c.Errorf("granted with %d tokens from %d, want none: the owner is not exclusive", reply.TokenCount, reply.Fence)
		}
	case reply.Granted && (reply.TokenCount < 1 || reply.TokenCount > r.TokenCount):
		c.Errorf("granted with %d tokens, want 1 to %d", reply.TokenCount, r.TokenCount)
	case reply.Granted && reply.Fence < 1:
		c.Errorf("granted with token %d, want a positive one", reply.Fence)
	case !reply.Granted && reply.Holder == "":
		c.Errorf("refused without naming the holder: %+v", reply)
	case !reply.Granted && reply.Holder == r.Owner:
		c.Errorf("refused because of the owner's own lease: %+v", reply)
	case !reply.Granted && r.Join && !c.NoQueue && reply.Ticket <= 0:
		c.Errorf("joined without a ticket: %+v", reply)
	}
}

func (n *client) mustHold(ttl time.Duration) lease.AcquireReply {
	n.c.Helper()
	reply := n.ask(ttl)
	if !reply.Granted {
		n.c.Fatalf("Acquire(%q) = %+v, want granted", n.key, reply)
	}
	return reply
}

func (n *client) mustWait() lease.AcquireReply {
	n.c.Helper()
	reply := n.join(long)
	if reply.Granted {
		n.c.Fatalf("Acquire(%q) was granted, want to wait", n.key)
	}
	return reply
}

// mustBeRefusedBy asks without joining and wants holder in the reply.
func (n *client) mustBeRefusedBy(holder *client) lease.AcquireReply {
	n.c.Helper()
	reply := n.ask(long)
	if reply.Granted {
		n.c.Fatalf("Acquire(%q) was granted, want refused", n.key)
	}
	if reply.Holder != holder.owner {
		n.c.Fatalf("refused by %q, want by %q", reply.Holder, holder.owner)
	}
	return reply
}

// mustBeRefused asks without joining and wants one of several holders in the reply:
// its owner id, or its name.
func (n *client) mustBeRefused(holders ...*client) lease.AcquireReply {
	n.c.Helper()
	reply := n.ask(long)
	if reply.Granted {
		n.c.Fatalf("Acquire(%q) was granted, want refused", n.key)
	}
	n.c.namesOneOf(reply.Holder, holders)
	return reply
}

// namesOneOf checks the holder in a reply about a key with several holders.
func (c *contract) namesOneOf(holder string, holders []*client) {
	c.Helper()
	if lease.OwnerProcess(holder) == "" {
		if !slices.ContainsFunc(holders, func(h *client) bool { return lease.OwnerName(h.owner) == lease.OwnerName(holder) }) {
			c.Errorf("holder %q does not name any of the %d holders", holder, len(holders))
		}
		return
	}
	if !slices.ContainsFunc(holders, func(h *client) bool { return h.owner == holder }) {
		c.Errorf("holder %q is none of the %d holders", holder, len(holders))
	}
}

// mustBeHolders wants all to hold the key now, whether they were answered or not.
func (c *contract) mustBeHolders(ns ...*client) {
	c.Helper()
	for i, n := range ns {
		if reply := n.renew(long); !reply.Held {
			c.Fatalf("number %d of %d does not hold the key: Renew() = %+v", i+1, len(ns), reply)
		}
	}
}

// mustNotBeHolders wants none of them to hold the key.
func (c *contract) mustNotBeHolders(ns ...*client) {
	c.Helper()
	for i, n := range ns {
		if n.renew(long).Held {
			c.Fatalf("number %d of %d holds the key", i+1, len(ns))
		}
	}
}

func (n *client) release(keepClosed time.Duration) lease.ReleaseReply {
	n.c.Helper()
	r := lease.ReleaseRequest{
		Key: n.key, Owner: n.owner, Limit: n.limit, Place: lease.Place{Reservation: n.reservation, Poll: n.poll}, KeepClosed: keepClosed,
	}
	var reply lease.ReleaseReply
	if err := n.c.answered(func() (err error) { reply, err = n.store.Release(n.c.ctx, r); return err }); err != nil {
		n.c.Fatalf("Release(%q): %v", n.key, err)
	}
	return reply
}

func (n *client) mustRelease() {
	n.c.Helper()
	if !worked(n.release(0)) {
		n.c.Fatalf("Release(%q) found another holder", n.key)
	}
}

// worked reports whether the owner held the lease, as far as the reply can say.
func worked(r lease.ReleaseReply) bool { return r.Released || r.Resent }

func (n *client) leave() {
	n.c.Helper()
	if n.release(0).Released {
		n.c.Fatalf("Release(%q) ended a lease, want only the queue left", n.key)
	}
}

func (n *client) renew(ttl time.Duration) lease.RenewReply {
	n.c.Helper()
	var replies []lease.RenewReply
	if err := n.c.answered(func() error {
		replies = n.store.Renew(n.c.ctx, []lease.RenewRequest{n.renewal(ttl)})
		if len(replies) != 1 {
			n.c.Fatalf("Renew of one lease gave %d replies", len(replies))
		}
		return replies[0].Err
	}); err != nil {
		n.c.Fatalf("Renew(%q): %v", n.key, err)
	}
	return replies[0]
}

func (n *client) renewal(ttl time.Duration) lease.RenewRequest {
	return lease.RenewRequest{Key: n.key, Owner: n.owner, Limit: n.limit, TTL: ttl}
}

// watch watches the owner, if the store can wake it, and returns a channel
// with capacity for one wake.
func (n *client) watch() (woken chan struct{}, stop func()) {
	woken = make(chan struct{}, 1)
	return woken, n.onWake(func(lease.Grant) bool {
		select {
		case woken <- struct{}{}:
		default:
		}
		return false
	})
}

// onWake has wake called, if the store can wake the owner.
func (n *client) onWake(wake func(lease.Grant) bool) (stop func()) {
	w, ok := n.store.(lease.Watcher)
	if !ok {
		return func() {} // polls
	}
	w.Watch(n.owner, lease.WakeFunc(wake))
	return func() { w.Unwatch(n.owner) }
}

// within repeats try until it succeeds.
func (c *contract) within(d time.Duration, what string, try func() bool) {
	c.Helper()
	for deadline := time.Now().Add(d); !try(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			c.Fatalf("%s: not within %v", what, d)
		}
	}
}

// notBefore fails if it is earlier than at: what was seen came too early.
func (c *contract) notBefore(at time.Time, what string) {
	c.Helper()
	if early := time.Until(at) - rounding; early > 0 {
		c.Errorf("%s: %v early", what, early)
	}
}

// wantRemaining checks a lease's remaining life, which may have shrunk since.
func (c *contract) wantRemaining(reply lease.AcquireReply, full time.Duration) {
	c.Helper()
	if reply.Remaining <= full-patience || reply.Remaining > full+rounding {
		c.Errorf("remaining %v, want a little less than %v", reply.Remaining, full)
	}
}

func isContextError(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}
