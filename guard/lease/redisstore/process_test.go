package redisstore_test

import (
	"cmp"
	"context"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/jobguard/jobguard/guard/lease"
	"github.com/jobguard/jobguard/guard/lease/redisstore"
)

const (
	ttl         = 10 * time.Second
	reservation = 2 * time.Second
)

// process is one process of the fleet: its store, and a client to inspect the server.
type process struct {
	t testing.TB
	*redisstore.Store
	client     redis.UniversalClient
	subscribed bool // the confirmation was seen
}

func newProcess(t testing.TB, client redis.UniversalClient, opts ...redisstore.Option) *process {
	return &process{t: t, Store: redisstore.New(client, opts...), client: client}
}

func within(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// acquire sends r with the TTL and reservation of these tests, unless it has its own.
func (p *process) acquire(r lease.AcquireRequest) (lease.AcquireReply, error) {
	r.TTL, r.Reservation, r.TokenCount = cmp.Or(r.TTL, ttl), cmp.Or(r.Reservation, reservation), max(1, r.TokenCount)
	return p.Acquire(within(p.t, 5*time.Second), r)
}

func (p *process) try(key, owner string, ticket int64) (lease.AcquireReply, error) {
	return p.acquire(lease.AcquireRequest{Key: key, Owner: owner, Join: true, Ticket: ticket})
}

// lasting is granted for longer than any test takes.
func (p *process) lasting(r lease.AcquireRequest) {
	p.t.Helper()
	r.TTL = time.Hour
	if reply, err := p.acquire(r); err != nil || !reply.Granted {
		p.t.Fatalf("acquire %q: %+v, %v", r.Key, reply, err)
	}
}

func (p *process) granted(key, owner string) lease.AcquireReply {
	p.t.Helper()
	r, err := p.try(key, owner, 0)
	if err != nil || !r.Granted {
		p.t.Fatalf("acquire %q: %+v, %v", key, r, err)
	}
	return r
}

func (p *process) refused(key, owner string, ticket int64) lease.AcquireReply {
	p.t.Helper()
	r, err := p.try(key, owner, ticket)
	if err != nil || r.Granted {
		p.t.Fatalf("acquire %q: %+v, %v", key, r, err)
	}
	return r
}

func (p *process) release(key, owner string) bool {
	p.t.Helper()
	r, err := p.Release(within(p.t, 5*time.Second), lease.ReleaseRequest{Key: key, Owner: owner, Place: lease.Place{Reservation: reservation}})
	if err != nil {
		p.t.Fatalf("release %q: %v", key, err)
	}
	return r.Released
}

func (p *process) renew(key, owner string) lease.RenewReply {
	return p.Renew(within(p.t, 5*time.Second), []lease.RenewRequest{{Key: key, Owner: owner, TTL: ttl}})[0]
}

func (p *process) value(key string) string { return p.client.Get(p.t.Context(), key).Val() }

// watching has owner watched and returns once the inbox is known to listen.
func (p *process) watching(owner string) (woken chan struct{}, stop func()) {
	p.t.Helper()
	woken = make(chan struct{}, 100)
	stop = p.Watch(owner, func(lease.Grant) bool { woken <- struct{}{}; return false })
	if !p.subscribed {
		p.subscribe()
		p.awaken(woken) // when the server has confirmed the subscription
		p.subscribed = true
	}
	return woken, stop
}

// Watch calls the store's, and returns what undoes it.
func (p *process) Watch(owner string, wake func(lease.Grant) bool) (stop func()) {
	p.Store.Watch(owner, lease.WakeFunc(wake))
	return func() { p.Unwatch(owner) }
}

func ignore(lease.Grant) bool { return false }

// subscribe makes the process subscribe, which it does when it first has to wait.
func (p *process) subscribe() {
	p.t.Helper()
	const key = "busy"
	holder, waiter := p.NewOwner(""), p.NewOwner("")
	p.granted(key, holder)
	defer p.release(key, holder)
	defer p.Watch(waiter, ignore)()
	p.refused(key, waiter, 0)
	p.release(key, waiter)
}

func (p *process) awaken(woken chan struct{}) {
	p.t.Helper()
	select {
	case <-woken:
	case <-time.After(waitLimit):
		p.t.Fatal("not woken")
	}
}

// inboxOf is the channel of the process's wake-ups.
func inboxOf(p *process) string { return "guard:inbox:" + lease.OwnerProcess(p.NewOwner("")) }

// waitLimit bounds each wait; a busy machine stays below.
const waitLimit = 30 * time.Second

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(waitLimit); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("never: " + what)
		}
	}
}

// received is what comes next from c.
func received[T any](t testing.TB, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(waitLimit):
		t.Fatalf("nothing was received within %v", waitLimit)
	}
	return v
}

// undisturbed wants that round, which counts requests, finds nothing wrong. One that is not answered
// within 100 ms, as when the machine stands still, is sent again: a round that took so long is repeated.
func undisturbed(t *testing.T, round func() (wrong string)) {
	t.Helper()
	for left := 10; ; left-- {
		began := time.Now()
		wrong := round()
		if wrong == "" {
			return
		}
		if left == 1 || time.Since(began) < 100*time.Millisecond {
			t.Error(wrong)
			return
		}
		t.Log("once more: ", wrong)
	}
}

func noError(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
