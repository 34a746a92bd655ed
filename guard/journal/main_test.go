package journal_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
	"github.com/jobguard/jobguard/guard/journal"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const ttl = time.Second

var errWork = errors.New("work failed")

// fleet is a store and a log, and what handlers were called with.
type fleet struct {
	t     *testing.T
	store *guardtest.Store
	log   *guardtest.Log
	g     *guard.Guard

	mu    sync.Mutex
	calls []journal.Record
	when  []time.Time
}

func newFleet(t *testing.T) *fleet {
	f := &fleet{t: t, store: guardtest.NewStore(), log: guardtest.NewLog()}
	f.g = f.guard()
	return f
}

// guard returns the guard of one more process.
func (f *fleet) guard(opts ...guard.Option) *guard.Guard {
	f.t.Helper()
	g, err := guard.New(f.store, append([]guard.Option{guard.TTL(ttl)}, opts...)...)
	must(f.t, err)
	return g
}

// journal returns the journal of one more process, which handles "charge" with handler.
func (f *fleet) journal(handler func(context.Context, journal.Record) error, opts ...journal.Option) *journal.Journal {
	f.t.Helper()
	j, err := journal.New(f.guard(), f.log, opts...)
	must(f.t, err)
	if handler != nil {
		j.Handle("charge", f.recorded(handler))
	}
	return j
}

// recorded notes what a handler is called with.
func (f *fleet) recorded(handler func(context.Context, journal.Record) error) func(context.Context, journal.Record) error {
	return func(ctx context.Context, r journal.Record) error {
		f.mu.Lock()
		f.calls, f.when = append(f.calls, r), append(f.when, time.Now())
		f.mu.Unlock()
		return handler(ctx, r)
	}
}

// called waits until all else rests, so that what handlers wrote can be read.
func (f *fleet) called() []journal.Record {
	synctest.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.calls)
}

// run runs the sweeper of j until the test, or stop, ends it.
func (f *fleet) run(j *journal.Journal) (stop func()) {
	ctx, cancel := context.WithCancel(f.t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := j.Run(ctx); !errors.Is(err, context.Canceled) {
			f.t.Errorf("Run() = %v", err)
		}
	}()
	stop = func() { cancel(); <-done }
	f.t.Cleanup(stop)
	return stop
}

func (f *fleet) stats(j *journal.Journal) journal.Stats {
	f.t.Helper()
	s, err := j.Stats(f.t.Context())
	must(f.t, err)
	return s
}

// reasons of records, in order.
func reasons(rs []journal.Record) (all []journal.Reason) {
	for _, r := range rs {
		all = append(all, r.Reason)
	}
	return all
}

func nothing(context.Context, journal.Record) error { return nil }

func charge(payload string) journal.Op {
	return journal.Op{Kind: "charge", Payload: []byte(payload)}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
