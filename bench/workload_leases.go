package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jobguard/jobguard/guard"
)

// measureLeases holds many leases for long and looks at what that costs beyond
// the goroutines that hold them.
//
// Those are measured first, by a herd that does the same without a guard: as
// many goroutines, which used as much stack before, parked in the same function
// under names of the same length. Stacks count as the runtime keeps them.
func measureLeases(ctx context.Context, p plan, r rival) (_ sample, err error) {
	servers, err := startServers(ctx, r.nodes)
	if err != nil {
		return nil, err
	}
	defer servers.stop()
	server := servers[0]
	if r.nodes > 1 {
		p.leases /= 5 // each is kept alive on all of them
	}
	seen := &renewals{ttl: p.leaseTTL}
	locker, err := openGuard(servers.addrs(), p.setup, guard.TTL(p.leaseTTL), guard.Observe(seen))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, locker.Close()) }()
	own, err := withoutLeases(ctx, p, locker.guard)
	if err != nil {
		return nil, err
	}

	empty, err := server.usage(ctx)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	holders := newHerd(p.leases, locker.guard.Do)
	holders.gather(ctx)
	gathered := time.Since(began)
	before, err := server.usage(ctx)
	if err != nil {
		return nil, errors.Join(err, holders.disperse())
	}
	began = time.Now()
	full := atRest()
	// From here on: collecting garbage five times is not a part of renewing.
	usedBefore, _ := processorTime()
	renewedBefore := seen.sum().late.n
	goroutines, err := watchGoroutines(ctx, p.leaseHold-time.Since(began))
	used, unsupported := processorTime()
	renewedMeanwhile := seen.sum().late.n - renewedBefore
	after, e := server.usage(ctx)
	held := time.Since(began)
	renewed := seen.sum()
	broken := holders.disperse()
	if err := errors.Join(err, e); err != nil {
		return nil, err
	}

	n := float64(p.leases)
	heap, stack := full.heap-own.heap, full.stack-own.stack
	s := sample{
		leasesHeld:      n,
		leasesLost:      float64(renewed.lost),
		leaseGoroutines: (goroutines.median - own.goroutines) / n,
		leaseBusiest:    goroutines.max - own.goroutines,
		leaseHeap:       heap / n,
		leaseStack:      stack / n,
		leaseMemory:     (heap + stack) / n,
		leaseLateP99:    renewed.late.quantile(0.99).Seconds(),
		leaseLateMax:    renewed.late.max.Seconds(),
		leaseRenewals:   float64(renewed.late.n) / held.Seconds(),
		leaseGrants:     n / gathered.Seconds(),
		leaseRedisCPU:   after.since(before).cpu / held.Seconds(),
		leaseRedisBytes: before.since(empty).memory / n,
	}
	if renewed.late.n > 0 {
		s[leaseRedisEach] = after.since(before).cpu / float64(renewed.late.n)
	}
	if unsupported == nil && renewedMeanwhile > 0 {
		s[leaseClientEach] = (used - usedBefore).Seconds() / float64(renewedMeanwhile)
	}
	return s, broken
}

// withoutLeases is the footprint of as many goroutines without leases. The
// guard is used before: its connections are not for each lease.
func withoutLeases(ctx context.Context, p plan, g *guard.Guard) (footprint, error) {
	first := newHerd(min(p.leases, atOnce), g.Do)
	first.gather(ctx)
	if err := first.disperse(); err != nil {
		return footprint{}, err
	}
	nothing := func(ctx context.Context, _ string, fn func(context.Context) error) error { return fn(ctx) }
	users := newHerd(p.leases, nothing)
	users.gather(ctx)
	own := atRest()
	return own, users.disperse()
}

// herd is many goroutines that each hold a key in do.
type herd struct {
	size    int
	do      func(ctx context.Context, key string, fn func(context.Context) error) error
	busy    chan struct{} // a place for each that is on its way in, or out
	release chan struct{} // closed when all may go
	inside  sync.WaitGroup
	outside sync.WaitGroup
	lost    atomic.Int64 // contexts that ended before release
	failed  atomic.Pointer[error]
	errors  atomic.Int64 // calls of do that returned one

	stampede bool // all go at the same time, without a place in busy
}

// atOnce is how many come or go at the same time: what a busy process does, not
// a stampede that no client's connections could carry.
const atOnce = 256

func newHerd(size int, do func(ctx context.Context, key string, fn func(context.Context) error) error) *herd {
	return &herd{size: size, do: do, busy: make(chan struct{}, atOnce), release: make(chan struct{})}
}

// gather returns when every goroutine is inside, or has failed to get there.
func (h *herd) gather(ctx context.Context) {
	for i := range h.size {
		h.busy <- struct{}{}
		h.inside.Add(1)
		h.outside.Go(func() { h.hold(ctx, "lease-"+strconv.Itoa(i)) }) // until disperse
	}
	h.inside.Wait()
}

func (h *herd) hold(ctx context.Context, key string) {
	useStack()
	arrive := sync.OnceFunc(func() {
		<-h.busy
		h.inside.Done()
	})
	defer arrive()
	leaving := false
	err := h.do(ctx, key, func(ctx context.Context) error {
		arrive()
		select {
		case <-h.release:
		case <-ctx.Done():
			h.lost.Add(1)
		}
		if leaving = !h.stampede; leaving {
			h.busy <- struct{}{}
		}
		return nil
	})
	if leaving {
		<-h.busy
	}
	if err != nil {
		h.errors.Add(1)
		h.failed.CompareAndSwap(nil, &err)
	}
}

// disperse lets all go and returns when they have. It is an error if one did
// not hold its key until then.
func (h *herd) disperse() error {
	close(h.release)
	h.outside.Wait()
	if err := h.failed.Load(); err != nil {
		return fmt.Errorf("%w: %d contexts of %d ended early: %w", errBroken, h.lost.Load(), h.size, *err)
	}
	return nil
}

// footprint is what a process has when nothing is going on.
type footprint struct {
	goroutines  float64
	heap, stack float64 // bytes
}

// atRest collects garbage, which halves the stacks that are too large, until
// there is little left to gain.
func atRest() footprint {
	for range 5 {
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return footprint{goroutines: float64(runtime.NumGoroutine()), heap: float64(m.HeapAlloc), stack: float64(m.StackInuse)}
}

// useStack makes the goroutine's stack grow to 8 KiB, as it does with any call
// over a network. What of it is given back depends on how deep the goroutine
// parks, which is where a guard makes a difference.
//
//go:noinline
func useStack() byte {
	var frame [4096]byte
	for i := range frame {
		frame[i] = byte(i)
	}
	return frame[len(frame)-1]
}

// watchGoroutines looks for d at how many goroutines there are.
func watchGoroutines(ctx context.Context, d time.Duration) (spread, error) {
	counts := []float64{float64(runtime.NumGoroutine())}
	for until := time.Now().Add(d); time.Now().Before(until); {
		if err := pause(ctx, min(20*time.Millisecond, time.Until(until))); err != nil {
			return spread{}, err
		}
		counts = append(counts, float64(runtime.NumGoroutine()))
	}
	s, _ := spreadOf(counts) // not empty
	return s, nil
}

// renewals is an Observer that notes how late renewals are, and losses.
type renewals struct {
	ttl time.Duration

	mu   sync.Mutex // guards what follows
	late histogram
	lost int
}

var _ guard.Observer = (*renewals)(nil)

func (r *renewals) AcquireStart(ctx context.Context, _ guard.AcquireStart) context.Context {
	return ctx
}
func (r *renewals) AcquireEnd(context.Context, guard.AcquireEnd)                   {}
func (r *renewals) RunStart(ctx context.Context, _ guard.RunStart) context.Context { return ctx }
func (r *renewals) RunEnd(context.Context, guard.RunEnd)                           {}

// Event takes a renewal's lateness from the trust that was left when it was
// answered: it began at TTL − Margin when the one before was sent, and is due
// to be renewed a third of the TTL later. The round trip counts as lateness.
func (r *renewals) Event(_ context.Context, e guard.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch e.Kind {
	case guard.EventRenewed:
		margin := r.ttl / 10 // the guard's default
		r.late.add(r.ttl - margin - e.Left - r.ttl/3)
	case guard.EventLost:
		r.lost++
	}
}

// sum is what was noted so far.
func (r *renewals) sum() (s struct {
	late histogram
	lost int
}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s.late.merge(&r.late)
	s.lost = r.lost
	return s
}
