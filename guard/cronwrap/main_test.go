package cronwrap_test

import (
	"context"
	"os"
	"slices"
	"sync"
	"testing"
	"time"
	_ "time/tzdata" // the tests of DST need New York wherever they run

	"github.com/redis/go-redis/v9"
	"github.com/robfig/cron/v3"
	"go.uber.org/goleak"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/cronwrap"
	"github.com/jobguard/jobguard/guard/guardtest"
	"github.com/jobguard/jobguard/guard/lease"
	"github.com/jobguard/jobguard/guard/lease/redisstore"
)

func TestMain(m *testing.M) {
	if addr := os.Getenv(childEnv); addr != "" {
		child(addr)
		return
	}
	if addr := os.Getenv(stoppedEnv); addr != "" {
		stoppedChild(addr)
		return
	}
	goleak.VerifyTestMain(m)
}

// replica is one process of a fleet: it shares nothing with others but the store.
type replica struct {
	*cronwrap.Runner
	cron  *cron.Cron
	guard *guard.Guard
	log   *log
}

// newReplica returns a replica over store that reports errors to l. The test's end
// shuts it down.
func newReplica(t testing.TB, store lease.Store, l *log, opts ...guard.Option) replica {
	t.Helper()
	return newReplicaIn(t, time.UTC, store, l, opts...)
}

func newReplicaIn(t testing.TB, zone *time.Location, store lease.Store, l *log, opts ...guard.Option) replica {
	t.Helper()
	g, err := guard.New(store, opts...)
	if err != nil {
		t.Fatal(err)
	}
	c := cron.New(cron.WithSeconds(), cron.WithLocation(zone))
	r := replica{cronwrap.New(c, g, cronwrap.OnError(l.failed)), c, g, l}
	t.Cleanup(func() { r.shutdown(t) })
	return r
}

func (r replica) shutdown(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if err := r.Shutdown(ctx); err != nil {
		t.Error(err)
	}
	if err := r.guard.Shutdown(ctx); err != nil {
		t.Error(err)
	}
}

// onRedis returns a store of its own over the server at addr, as in a process of its
// own.
func onRedis(t testing.TB, addr string) lease.Store {
	client := redis.NewClient(&redis.Options{Addr: addr})
	t.Cleanup(func() { _ = client.Close() })
	return redisstore.New(client)
}

// add adds a job that records each of its runs in the log, and then calls then, if
// that is not nil.
func (r replica) add(t testing.TB, spec, name string, then func(context.Context) error, opts ...cronwrap.JobOption) cron.EntryID {
	t.Helper()
	id, err := r.Add(spec, name, r.log.job(then), opts...)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func (r replica) addSchedule(t testing.TB, s cron.Schedule, name string, then func(context.Context) error, opts ...cronwrap.JobOption) {
	t.Helper()
	if _, err := r.AddSchedule(s, name, r.log.job(then), opts...); err != nil {
		t.Fatal(err)
	}
}

// log records what a fleet did.
type log struct {
	mu     sync.Mutex
	ticks  []time.Time // of runs, in the order in which they began
	at     []time.Time // when they did
	errors []*cronwrap.Error
}

func (l *log) job(then func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		l.mu.Lock()
		l.ticks, l.at = append(l.ticks, cronwrap.Tick(ctx)), append(l.at, time.Now())
		l.mu.Unlock()
		if then == nil {
			return nil
		}
		return then(ctx)
	}
}

func (l *log) failed(e *cronwrap.Error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.errors = append(l.errors, e)
}

func (l *log) runs() []time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.ticks)
}

func (l *log) failures() []*cronwrap.Error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.errors)
}

// mustBe compares the ticks that ran with seconds after start, in order.
func (l *log) mustBe(t testing.TB, start time.Time, seconds ...int) {
	t.Helper()
	var got []int
	for _, tick := range l.runs() {
		got = append(got, int(tick.Sub(start)/time.Second))
	}
	if !slices.Equal(got, seconds) {
		t.Errorf("ticks that ran, in seconds after the start: %v, want %v", got, seconds)
	}
}

func (l *log) noErrors(t testing.TB) {
	t.Helper()
	for _, e := range l.failures() {
		t.Errorf("reported: %v", e)
	}
}

// everyTickOnce checks that no tick ran twice, and that of those between the first
// and the last, at least atLeast, at most gaps did not run: in real time all replicas
// can be delayed at once, and then cron itself leaves ticks out.
func (l *log) everyTickOnce(t testing.TB, step time.Duration, atLeast, gaps int) {
	t.Helper()
	ticks := l.runs()
	slices.SortFunc(ticks, time.Time.Compare)
	for i := range len(ticks) - 1 {
		if ticks[i+1].Equal(ticks[i]) {
			t.Errorf("tick %v ran twice", ticks[i])
		}
	}
	if len(ticks) == 0 {
		t.Fatal("no tick ran")
	}
	all := int(ticks[len(ticks)-1].Sub(ticks[0])/step) + 1
	if all < atLeast || len(ticks) < all-gaps {
		t.Errorf("%d of %d ticks ran, want all but %d of at least %d", len(ticks), all, gaps, atLeast)
	}
}

func sleeping(d time.Duration) func(context.Context) error {
	return func(context.Context) error {
		time.Sleep(d)
		return nil
	}
}

func nothing(context.Context) error { return nil }

func mustGuard(t testing.TB) *guard.Guard {
	t.Helper()
	g, err := guard.New(guardtest.NewStore())
	if err != nil {
		t.Fatal(err)
	}
	return g
}
