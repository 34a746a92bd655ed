package guard_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
	"github.com/jobguard/jobguard/guard/lease"
	"github.com/jobguard/jobguard/internal/redistest"
)

// burying is a store that one request reaches late: whoever sent it has an error
// by then, and the request is still in time for its deadline. The next ones find
// the connection refused.
type burying struct {
	*guardtest.Store
	nth     int           // which Acquire is buried, from 1
	late    time.Duration // how long it lies there
	refused int           // how many of those after it fail

	arrived chan error // its outcome, once it arrived

	mu    sync.Mutex
	calls int
}

func newBurying(nth int, late time.Duration, refused int) *burying {
	return &burying{Store: guardtest.NewStore(), nth: nth, late: late, refused: refused, arrived: make(chan error, 1)}
}

func (s *burying) Acquire(ctx context.Context, r lease.AcquireRequest) (lease.AcquireReply, error) {
	s.mu.Lock()
	s.calls++
	n := s.calls
	s.mu.Unlock()
	switch {
	case n == s.nth:
		deadline, _ := ctx.Deadline()
		time.AfterFunc(s.late, func() {
			ctx, cancel := context.WithDeadline(context.Background(), deadline)
			defer cancel()
			reply, err := s.Store.Acquire(ctx, r)
			if err == nil && !reply.Granted {
				err = fmt.Errorf("refused: %+v", reply)
			}
			s.arrived <- err
		})
		return lease.AcquireReply{}, errors.New("connection reset by peer")
	case n > s.nth && n <= s.nth+s.refused:
		return lease.AcquireReply{}, errors.New("connection refused")
	}
	return s.Store.Acquire(ctx, r)
}

func TestBuriedShorterAcquireDoesNotShortenTheLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newBurying(1, 50*time.Millisecond, 0)
		g := newGuard(t, s)
		ctx, cancel := context.WithCancel(t.Context())
		go func() { _ = g.With(guard.TTL(400*time.Millisecond)).Do(ctx, "k", nothing) }()
		synctest.Wait()
		err := make(chan error)
		go func() {
			err <- g.Do(t.Context(), "k", func(ctx context.Context) error {
				// It was sent under the owner id that now holds the key.
				if err := <-s.arrived; err != nil {
					t.Errorf("the buried request came for nothing: %v", err)
				}
				if left := s.Remaining("k"); left < 9*time.Second {
					t.Errorf("a request with a TTL of 400ms cut a lease of 10s to %v", left)
				}
				time.Sleep(time.Second)
				if err := newGuard(t, s, guard.Wait(0)).Do(t.Context(), "k", nothing); !errors.Is(err, guard.ErrBusy) {
					t.Errorf("a rival got %v beside the run, want ErrBusy", err)
				}
				return ctx.Err()
			})
		}()
		synctest.Wait()
		cancel() // whoever sent it leaves; its place goes to the second
		if err := <-err; err != nil {
			t.Error(err)
		}
		time.Sleep(time.Minute)
	})
}

// buryBehindShorter leaves a store with a lease of 10 s that nobody wants and
// nobody knows of. Its request, which was the second attempt, was welcome for 2 s
// from then on. Those after it, with a TTL of 60 ms, were over much sooner.
func buryBehindShorter(t *testing.T) *burying {
	t.Helper()
	s := newBurying(2, time.Second, 1000)
	s.HoldFor("k", "ops", 100*time.Millisecond)
	g := newGuard(t, s)
	ctx, cancel := context.WithTimeout(t.Context(), 120*time.Millisecond)
	defer cancel()
	var wg sync.WaitGroup
	wg.Go(func() { _ = g.Do(ctx, "k", nothing) })
	synctest.Wait()
	wg.Go(func() {
		err := g.With(guard.TTL(60*time.Millisecond)).Do(t.Context(), "k", nothing)
		if !errors.Is(err, guard.ErrUnavailable) {
			t.Errorf("Do() = %v, want ErrUnavailable", err)
		}
	})
	wg.Wait()
	if err := <-s.arrived; err != nil {
		t.Fatalf("the buried request came for nothing: %v", err)
	}
	if _, held := s.Holder("k"); !held || s.Remaining("k") != 10*time.Second {
		t.Fatalf("the buried request took the key: %v, for %v", held, s.Remaining("k"))
	}
	return s
}

func TestCleanUpWaitsForTheLatestOpenDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := buryBehindShorter(t)
		time.Sleep(time.Second + 50*time.Millisecond) // its deadline, and the first caller's last one
		if owner, held := s.Holder("k"); held {
			t.Errorf("a zombie holds the key, %q, for %v more", owner, s.Remaining("k"))
		}
		time.Sleep(time.Minute)
	})
}

func TestCleanUpGoesOnAsLongAsTheLongestBuriedLeaseCouldLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := buryBehindShorter(t)
		s.Inject(guardtest.Fault{Op: guardtest.OpRelease})
		time.Sleep(7 * time.Second)
		s.Fail(nil)
		time.Sleep(2 * time.Second) // an attempt under way, a pause, the next
		if owner, held := s.Holder("k"); held {
			t.Errorf("nobody tries any more, and a zombie holds the key, %q, for %v more", owner, s.Remaining("k"))
		}
		time.Sleep(time.Minute)
	})
}

func TestRedisBuriedShorterAcquireDoesNotShortenTheLease(t *testing.T) {
	s := redistest.Start(t)
	admin := s.Client(t)
	p := redistest.NewProxy(t, s.Addr())
	// The client gives up after 500 ms. The request stays welcome for 2 s.
	client := redis.NewClient(&redis.Options{Addr: p.Addr(), ReadTimeout: 500 * time.Millisecond})
	long := onClient(t, client, nil, guard.TTL(20*time.Second))
	short := long.With(guard.TTL(3 * time.Second))
	if err := long.Do(t.Context(), "warm-up", nothing); err != nil {
		t.Fatal(err)
	}
	must(t, admin.Set(t.Context(), "guard:k", "another program", 0))

	ctx, cancel := context.WithCancel(t.Context())
	gone := make(chan error, 1)
	go func() { gone <- short.Do(ctx, "k", nothing) }()
	owner := ""
	for owner == "" { // it stands in line
		for _, member := range admin.ZRange(t.Context(), queueOf(t, admin), 0, 0).Val() {
			_, owner, _ = strings.Cut(member, ";")
		}
		time.Sleep(time.Millisecond)
	}
	buried := p.HoldNextRequest("evalsha", "guard:k") // its next poll
	alone := guard.Left(long)
	running, end := make(chan context.Context, 1), make(chan struct{})
	done := make(chan error, 1)
	go func() {
		done <- long.Do(context.Background(), "k", func(ctx context.Context) error {
			running <- ctx
			<-end
			return ctx.Err()
		})
	}()
	for guard.Left(long) == alone { // it has come
		time.Sleep(time.Millisecond)
	}
	buried.Wait(t)
	must(t, admin.Del(t.Context(), "guard:k"))
	cancel()
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Errorf("Do() = %v, want the end of its context", err)
	}

	run := <-running
	if got := admin.Get(t.Context(), "guard:k").Val(); got != owner {
		t.Fatalf("the key is held by %q and not, as meant here, by %q, whose request is buried", got, owner)
	}
	before := scriptsRun(t, admin)
	buried.Release()
	for scriptsRun(t, admin) == before { // until it was executed
		time.Sleep(time.Millisecond)
	}
	if left := admin.PTTL(t.Context(), "guard:k").Val(); left < 15*time.Second {
		t.Errorf("a request with a TTL of 3s cut a lease of 20s to %v", left)
	}
	if !guard.Holding(run, "k") {
		t.Error("the run lost its lease")
	}
	close(end)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// scriptsRun returns the server's statistics of calls of scripts.
func scriptsRun(t *testing.T, admin *redis.Client) string {
	t.Helper()
	info := admin.Info(t.Context(), "commandstats")
	must(t, info)
	for line := range strings.Lines(info.Val()) {
		if calls, ok := strings.CutPrefix(line, "cmdstat_evalsha:calls="); ok {
			calls, _, _ = strings.Cut(calls, ",")
			return calls
		}
	}
	return ""
}
