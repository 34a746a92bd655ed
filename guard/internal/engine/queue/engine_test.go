package queue

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/jobguard/jobguard/guard/guardtest"
	"github.com/jobguard/jobguard/guard/internal/backoff"
	"github.com/jobguard/jobguard/guard/internal/engine/keep"
	"github.com/jobguard/jobguard/guard/lease"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// usual is what most tests acquire with.
var usual = Options{Terms: &keep.Terms{TTL: 10 * time.Second, Margin: time.Second}, Wait: Forever}

// strict wraps a store and fails the test when the engine breaks the contract.
type strict struct {
	*guardtest.Store
	t testing.TB

	mu       sync.Mutex
	flying   map[string]bool // owners with an Acquire under way
	releases []time.Time
}

func newStrict(t testing.TB) *strict {
	return &strict{Store: guardtest.NewStore(), t: t, flying: make(map[string]bool)}
}

func (s *strict) Acquire(ctx context.Context, r lease.AcquireRequest) (lease.AcquireReply, error) {
	if _, ok := ctx.Deadline(); !ok {
		s.t.Error("Acquire without a deadline")
	}
	s.mu.Lock()
	if s.flying[r.Owner] {
		s.t.Errorf("two Acquires at once for %s", r.Owner)
	}
	s.flying[r.Owner] = true
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.flying, r.Owner)
	}()
	return s.Store.Acquire(ctx, r)
}

func (s *strict) Renew(ctx context.Context, rs []lease.RenewRequest) []lease.RenewReply {
	if _, ok := ctx.Deadline(); !ok {
		s.t.Error("Renew without a deadline")
	}
	return s.Store.Renew(ctx, rs)
}

func (s *strict) Release(ctx context.Context, r lease.ReleaseRequest) (lease.ReleaseReply, error) {
	if _, ok := ctx.Deadline(); !ok {
		s.t.Error("Release without a deadline")
	}
	s.mu.Lock()
	s.releases = append(s.releases, time.Now())
	s.mu.Unlock()
	return s.Store.Release(ctx, r)
}

func (s *strict) releasedAt() []time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.releases)
}

// closeEngine ends the engine and checks that nothing is left of it.
func closeEngine(t testing.TB, e *Engine) {
	t.Helper()
	e.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	e.Drain(ctx)
	if n := e.Left(); n > 0 {
		t.Errorf("%d queues, renewals, expiries and goroutines are left", n)
	}
}

func TestOneAcquirePerOwnerAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStrict(t)
		s.Delay(20 * time.Millisecond)
		engines := []*Engine{New(s), New(s), New(s)}
		var wg sync.WaitGroup
		for i := range 60 {
			wg.Go(func() {
				ctx := context.Background()
				if i%4 == 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, time.Duration(i)*7*time.Millisecond+1)
					defer cancel()
				}
				h, _, f := engines[i%3].Acquire(ctx, "k", usual)
				if f != nil {
					if i%4 != 0 {
						t.Error(f)
					}
					return
				}
				time.Sleep(backoff.Jitter(0, 30*time.Millisecond))
				noLoss(t, h.End())
			})
		}
		wg.Wait()
		for _, e := range engines {
			closeEngine(t, e)
		}
		if keys := s.Keys(); len(keys) > 0 {
			t.Errorf("%q are left", keys)
		}
	})
}

func TestUnknownOutcomeIsCleanedUpAtOnceAndUntilItsDeadline(t *testing.T) {
	inBubble(t, func(t *testing.T, s *strict, e *Engine) {
		// The connection breaks at once, the request may be buried anywhere.
		s.Inject(guardtest.Fault{Op: guardtest.OpAcquire, Err: errors.New("connection reset"), Lost: true})
		start := time.Now()
		const patience = 50 * time.Millisecond
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if _, _, f := e.Acquire(ctx, "k", usual); f == nil {
			t.Fatal("acquired")
		}
		time.Sleep(time.Minute)
		deadline := usual.acquireTimeout(0)
		at := s.releasedAt()
		if n := len(at); n < 2 || n > 8 || at[0].Sub(start) != patience || at[n-1].Sub(start) < deadline {
			t.Errorf("released at %v, want at once and, ever more rarely, until after %v", at, deadline)
		}
	})
}

func TestUnknownAttemptBeforeAGrantIsCleanedUp(t *testing.T) {
	inBubble(t, func(t *testing.T, s *strict, e *Engine) {
		s.Inject(guardtest.Fault{Op: guardtest.OpAcquire, Err: errors.New("connection reset"), Times: 1})
		start := time.Now()
		h := mustAcquire(t, e, usual)
		h.End()
		time.Sleep(time.Minute)
		if at := s.releasedAt(); len(at) < 2 || at[len(at)-1].Sub(start) < firstPatience {
			t.Errorf("released at %v: a buried attempt would leave a zombie", at)
		}
	})
}

func TestPollIsBoundedAndMeetsTheExpiry(t *testing.T) {
	const s, ms = time.Second, time.Millisecond
	for _, c := range []struct {
		name   string
		reply  lease.AcquireReply
		lo, hi time.Duration
	}{
		{"foreign key without expiry", lease.AcquireReply{Ticket: 1, Head: true, Remaining: -1, Foreign: true}, 50 * ms, 100 * ms},
		{"expires at once", lease.AcquireReply{Ticket: 1, Head: true, Remaining: 0}, 50 * ms, 54 * ms},
		{"expires soon", lease.AcquireReply{Ticket: 1, Head: true, Remaining: 400 * ms}, 400 * ms, 425 * ms},
		{"expires late", lease.AcquireReply{Ticket: 1, Head: true, Remaining: time.Hour}, 750 * ms, s},
		{"not the head, expires soon", lease.AcquireReply{Ticket: 1, Remaining: 60 * ms}, 500 * ms, 532 * ms},
		{"not the head, expires late", lease.AcquireReply{Ticket: 1, Remaining: time.Hour, Foreign: true}, 750 * ms, s},
		{"watched, expires late", lease.AcquireReply{Ticket: 1, Remaining: time.Hour, Watched: true}, 4500 * ms, 5 * s},
		{"watched, expires soon", lease.AcquireReply{Ticket: 1, Head: true, Remaining: 2 * s, Watched: true}, 2 * s, 2050 * ms},
		{"no queue", lease.AcquireReply{Remaining: time.Hour}, 187 * ms, 250 * ms},
	} {
		for range 100 {
			if d := pollAfter(c.reply, placeFor(time.Minute, 0)); d < c.lo || d > c.hi {
				t.Errorf("%s: polls after %v, want %v to %v", c.name, d, c.lo, c.hi)
			}
		}
	}
}

func TestReservationOutlastsPollsAndRoundTrips(t *testing.T) {
	for _, ttl := range []time.Duration{50 * time.Millisecond, 300 * time.Millisecond, time.Second, 10 * time.Second, time.Hour} {
		place := placeFor(ttl, time.Millisecond)
		d := place.Reservation
		if d > max(ttl, reservationMin) || d > reservationMax {
			t.Errorf("TTL %v: reserved for %v, longer than a crashed holder may block", ttl, d)
		}
		if dead := place.Patience() + d; dead > ttl+2*time.Second {
			t.Errorf("TTL %v: waiters that died may be in the way for %v", ttl, dead)
		}
		for _, reply := range []lease.AcquireReply{{Ticket: 1}, {Ticket: 1, Head: true, Remaining: time.Hour}, {Remaining: time.Hour}} {
			if poll := pollAfter(reply, place); 2*poll > d+d/8 {
				t.Errorf("TTL %v: polls after %v, reserved for %v", ttl, poll, d)
			}
			reply.Watched = true
			if poll := pollAfter(reply, place); poll > ttl/2 || poll > 5*time.Second {
				t.Errorf("TTL %v: polls after %v while watched", ttl, poll)
			}
		}
	}
	synctest.Test(t, func(t *testing.T) {
		s := &claims{Store: guardtest.NewStore()}
		s.Delay(900 * time.Millisecond)
		e := New(s)
		for range 30 {
			h := mustAcquire(t, e, usual)
			h.End()
		}
		if s.last < reservationRTTs*890*time.Millisecond {
			t.Errorf("reservation %v over a link with a round trip of 900ms", s.last)
		}
		closeEngine(t, e)
	})
}

// claims notes the reservation asked for last.
type claims struct {
	*guardtest.Store
	last time.Duration
}

func (s *claims) Acquire(ctx context.Context, r lease.AcquireRequest) (lease.AcquireReply, error) {
	s.last = r.Reservation
	return s.Store.Acquire(ctx, r)
}

func TestAttemptsFitIntoTrust(t *testing.T) {
	for _, ttl := range []time.Duration{50 * time.Millisecond, time.Second, 10 * time.Second, time.Hour} {
		o := Options{Terms: &keep.Terms{TTL: ttl, Margin: ttl/2 - 1}}
		if d := o.acquireTimeout(0); d <= 0 || d > ttl-o.Margin {
			t.Errorf("TTL %v: an acquire may take %v", ttl, d)
		}
	}
}

func TestHandoversAreBoundedSoThatOthersGetTheirTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStrict(t)
		busy, other := New(s), New(s)
		stop := time.Now().Add(2 * time.Second)
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for time.Now().Before(stop) {
					h, _, f := busy.Acquire(context.Background(), "k", usual)
					if f != nil {
						t.Error(f)
						return
					}
					time.Sleep(time.Millisecond)
					h.End()
				}
			})
		}
		var worst time.Duration
		turns := 0
		for time.Now().Before(stop) {
			asked := time.Now()
			h := mustAcquire(t, other, usual)
			worst = max(worst, time.Since(asked))
			turns++
			h.End()
		}
		wg.Wait()
		if worst > handoffMax+2*time.Millisecond || turns < 100 {
			t.Errorf("%d turns, the worst after %v", turns, worst)
		}
		closeEngine(t, busy)
		closeEngine(t, other)
	})
}

func TestWaitersWithOtherOptionsStayCorrect(t *testing.T) {
	inBubble(t, func(t *testing.T, s *strict, e *Engine) {
		short := Options{Terms: &keep.Terms{TTL: time.Second, Margin: 100 * time.Millisecond}, Wait: Forever}
		var wg sync.WaitGroup
		inside := 0
		for i := range 40 {
			wg.Go(func() {
				opt := usual
				if i%3 == 0 {
					opt = short
				}
				h, _, f := e.Acquire(context.Background(), "k", opt)
				if f != nil {
					t.Error(f)
					return
				}
				inside++
				if inside != 1 || h.TTL() != opt.TTL || h.TrustLeft() > opt.TTL-opt.Margin {
					t.Errorf("%d inside, TTL %v, trust %v under %+v", inside, h.TTL(), h.TrustLeft(), opt)
				}
				if left := s.Remaining("k"); left > opt.TTL || left < opt.TTL/2 {
					t.Errorf("the store keeps it for %v, TTL %v", left, opt.TTL)
				}
				time.Sleep(backoff.Jitter(0, 3*time.Millisecond))
				inside--
				h.End()
			})
		}
		wg.Wait()
	})
}

// listenerFunc is a Listener that calls functions; nil for none.
type listenerFunc struct {
	lost  func(*keep.Lost)
	event func(keep.Event)
}

func (l *listenerFunc) Lost(_ *keep.Hold, why *keep.Lost) {
	if l.lost != nil {
		l.lost(why)
	}
}

func (l *listenerFunc) Happened(_ *keep.Hold, ev keep.Event) { l.event(ev) }

func onLost(f func(*keep.Lost)) keep.Listener { return &listenerFunc{lost: f} }

func listen(f func(keep.Event)) keep.Listener { return &listenerFunc{event: f} }

// inBubble runs f in a synctest bubble with an engine over a strict store, and
// checks that the engine leaves nothing.
func inBubble(t *testing.T, f func(t *testing.T, s *strict, e *Engine)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := newStrict(t)
		e := New(s)
		f(t, s, e)
		closeEngine(t, e)
		if e.nobody != (line{e: e}) {
			t.Errorf("somebody waits for what nobody waits for: %+v", e.nobody)
		}
	})
}

func noLoss(t testing.TB, lost *keep.Lost) {
	t.Helper()
	if lost != nil {
		t.Error(lost)
	}
}
