package otelguard_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
	"github.com/jobguard/jobguard/guard/journal"
	"github.com/jobguard/jobguard/guard/journal/record"
)

var errWork = errors.New("work failed")

func newJournal(t testing.TB, tel *telemetry, log journal.Log, name string, opts ...journal.Option) *journal.Journal {
	t.Helper()
	g := newGuard(t, guardtest.NewStore(), guard.Name(name), guard.TTL(time.Second))
	j, err := journal.New(g, log, append([]journal.Option{journal.Observe(tel)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// sweeping runs j's sweeper until the test ends.
func sweeping(t *testing.T, j *journal.Journal) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = j.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
}

// level returns the value of a gauge for exactly these attributes.
func (tel *telemetry) level(t testing.TB, name string, kvs ...kv) (v float64, ok bool) {
	t.Helper()
	switch data := tel.metrics(t)[name].Data.(type) {
	case metricdata.Gauge[int64]:
		for _, p := range data.DataPoints {
			if has(p.Attributes, kvs) {
				return float64(p.Value), true
			}
		}
	case metricdata.Gauge[float64]:
		for _, p := range data.DataPoints {
			if has(p.Attributes, kvs) {
				return p.Value, true
			}
		}
	}
	return 0, false
}

func (tel *telemetry) wantLevel(t testing.TB, metric, name string, want float64) {
	t.Helper()
	if v, ok := tel.level(t, metric, named(name)); !ok || v != want {
		t.Errorf("%s of %s is %v, there: %v; want %v", metric, name, v, ok, want)
	}
}

func (tel *telemetry) wantSum(t testing.TB, want int64, metric string, kvs ...kv) {
	t.Helper()
	if n, ok := tel.sum(t, metric, kvs...); !ok || n != want {
		t.Errorf("%s %v is %d, there: %v; want %d", metric, kvs, n, ok, want)
	}
}

func TestFiguresOfAJournalAreThoseOfItsLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tel := newTelemetry()
		j := newJournal(t, tel, guardtest.NewLog(), "orders", journal.MaxOpen(7), journal.MaxAttempts(1), journal.OnDead(func(journal.Record) {}))
		tel.wantLevel(t, "jobguard.journal.open", "orders", 0)
		tel.wantLevel(t, "jobguard.journal.limit", "orders", 7)
		err := j.Do(t.Context(), "k", journal.Op{Kind: "charge"}, func(context.Context) error {
			time.Sleep(30 * time.Second)
			tel.wantLevel(t, "jobguard.journal.open", "orders", 1)
			tel.wantLevel(t, "jobguard.journal.oldest", "orders", 30)
			return errWork
		})
		if !errors.Is(err, errWork) {
			t.Error(err)
		}
		j.Handle("charge", func(context.Context, journal.Record) error { return errWork })
		sweeping(t, j)
		time.Sleep(time.Minute)
		tel.wantLevel(t, "jobguard.journal.open", "orders", 0)
		tel.wantLevel(t, "jobguard.journal.oldest", "orders", 0)
		tel.wantLevel(t, "jobguard.journal.dead", "orders", 1)
	})
}

func TestWhatHappensToRecordsIsCountedByKind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tel := newTelemetry()
		j := newJournal(t, tel, guardtest.NewLog(), "orders", journal.MaxAttempts(3), journal.OnDead(func(journal.Record) {}))
		calls := 0
		j.Handle("mended", func(context.Context, journal.Record) error {
			if calls++; calls == 1 {
				return errWork
			}
			return nil
		})
		j.Handle("broken", func(context.Context, journal.Record) error { return errWork })
		for _, kind := range []string{"mended", "broken"} {
			_ = j.Do(t.Context(), kind, journal.Op{Kind: kind}, func(context.Context) error { return errWork })
		}
		sweeping(t, j)
		time.Sleep(time.Minute)
		for _, c := range []struct {
			kind, result string
			want         int64
		}{{"mended", "ok", 1}, {"mended", "retry", 1}, {"mended", "dead", 0}, {"broken", "ok", 0}, {"broken", "retry", 2}, {"broken", "dead", 1}} {
			tel.wantSum(t, c.want, "jobguard.journal.compensations", named("orders"), str("jobguard.kind", c.kind), str("jobguard.result", c.result))
		}
		for _, e := range []journal.EventKind{journal.EventLate, journal.EventMismatch, journal.EventMismatch, journal.EventUnstored, journal.EventCheckFailed, journal.EventSweepFailed} {
			tel.Happened(t.Context(), journal.Event{Kind: e, Name: "orders", Record: journal.Record{Kind: "mended"}})
		}
		tel.wantSum(t, 1, "jobguard.journal.late", named("orders"), str("jobguard.kind", "mended"))
		tel.wantSum(t, 2, "jobguard.journal.mismatches", named("orders"), str("jobguard.kind", "mended"))
		for operation, want := range map[string]int64{"outcome": 1, "check": 1, "sweep": 1, "stats": 0} {
			tel.wantSum(t, want, "jobguard.journal.errors", named("orders"), str("jobguard.operation", operation))
		}
	})
}

func TestCountersOfAJournalBeginAtZero(t *testing.T) {
	tel := newTelemetry()
	newJournal(t, tel, guardtest.NewLog(), "").Handle("charge", func(context.Context, journal.Record) error { return nil })
	kind := str("jobguard.kind", "charge")
	for _, result := range []string{"ok", "retry", "dead"} {
		tel.wantSum(t, 0, "jobguard.journal.compensations", named("unnamed"), kind, str("jobguard.result", result))
	}
	tel.wantSum(t, 0, "jobguard.journal.late", named("unnamed"), kind)
	tel.wantSum(t, 0, "jobguard.journal.mismatches", named("unnamed"), kind)
	for _, operation := range []string{"outcome", "check", "sweep", "stats"} {
		tel.wantSum(t, 0, "jobguard.journal.errors", named("unnamed"), str("jobguard.operation", operation))
	}
}

// silent is a log whose figures cannot be had.
type silent struct{ *guardtest.Log }

func (silent) Stats(ctx context.Context) (record.Stats, error) {
	<-ctx.Done()
	return record.Stats{}, ctx.Err()
}

func TestLogThatDoesNotAnswerCostsTwoSecondsAndNoOtherMetric(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tel := newTelemetry()
		newJournal(t, tel, silent{guardtest.NewLog()}, "down")
		newJournal(t, tel, silent{guardtest.NewLog()}, "down too")
		newJournal(t, tel, guardtest.NewLog(), "up")
		start := time.Now()
		tel.wantLevel(t, "jobguard.journal.open", "up", 0)
		if took := time.Since(start); took != 2*time.Second {
			t.Errorf("a collection took %v, want the 2s of a log that does not answer", took)
		}
		if v, ok := tel.level(t, "jobguard.journal.open", named("down")); ok {
			t.Errorf("a log that does not answer has %v open records", v)
		}
		tel.wantSum(t, 3, "jobguard.journal.errors", named("down"), str("jobguard.operation", "stats")) // a collection each
		tel.wantSum(t, 0, "jobguard.journal.errors", named("up"), str("jobguard.operation", "stats"))
	})
}

func TestOfSeveralLogsUnderOneNameTheWorstIsShown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tel := newTelemetry()
		for range 2 {
			full, empty := newJournal(t, tel, guardtest.NewLog(), "orders"), newJournal(t, tel, guardtest.NewLog(), "orders")
			_ = empty
			_ = full.Do(t.Context(), "k", journal.Op{Kind: "charge"}, func(context.Context) error { return errWork })
			time.Sleep(time.Second)
		}
		tel.wantLevel(t, "jobguard.journal.open", "orders", 1)
		tel.wantLevel(t, "jobguard.journal.oldest", "orders", 2)
	})
}
