package cronwrap_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/robfig/cron/v3"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/cronwrap"
	"github.com/jobguard/jobguard/guard/guardtest"
)

func TestJobsAreListedWithTheirTicksAndLastRun(t *testing.T) {
	list := func(want ...string) action {
		return each(func(r *replica) {
			var got []string
			for _, j := range r.Jobs() {
				got = append(got, fmt.Sprint(j.Name, " ", j.Last.Format("05"), " ", j.Next.Format("05"), " ", j.Began.Format("05"), " ", j.Duration, " ", j.Err))
			}
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("Jobs() = %q, want %q", got, want)
			}
		})
	}
	fleet(t, "@every 10s").job(func(*timeline, context.Context) error { time.Sleep(2 * s); return errJob }).at(0, each(func(r *replica) {
		if _, err := r.Add("@every 5s", "another", nothing); err != nil {
			t.Fatal(err)
		}
		r.cron.Schedule(steps(s), cron.FuncJob(func() {})) // no job of the Runner's
	})).at(1500*ms, list("another 00 05 00 0s <nil>", "report 00 10 00 0s <nil>")).
		at(13*s, list("another 10 15 10 0s <nil>", "report 10 20 10 2s no paper"), told(errJob, 10), each(func(r *replica) { r.cron.Remove(r.entry) })).
		at(15*s+ms, list("another 15 20 15 0s <nil>"), tellsAnything).ran(10)
	// The last tick of another replica, once this one has looked.
	later(t, "@every 10s").at(5*s, other(0, 0, true), skewed(-s)).at(10*s, other(10, 0, true)).at(12*s, func(f *timeline) {
		if j := f.replicas[0].Jobs()[0]; !j.Last.Equal(f.time(10)) || !j.Began.IsZero() {
			t.Errorf("Jobs() = %+v", j)
		}
	}).ran()
}

func TestRunNowRunsTheJobUnderItsKeyAndReturnsItsResult(t *testing.T) {
	fleet(t, "@every 1h").job(func(f *timeline, ctx context.Context) error {
		if cronwrap.JobName(ctx) != "report" || cronwrap.Attempt(ctx) != 1 || !guard.Holding(ctx, "report") {
			t.Errorf("name %q, attempt %d, holding %t", cronwrap.JobName(ctx), cronwrap.Attempt(ctx), guard.Holding(ctx, "report"))
		}
		if len(f.runs()) == 2 {
			panic("no ink")
		}
		return errJob
	}).at(10*s, func(f *timeline) {
		r := f.replicas[0]
		if err := r.RunNow(f.Context(), "report"); !errors.Is(err, errJob) {
			t.Errorf("RunNow() = %v, want the job's error", err)
		}
		var p *cronwrap.PanicError
		if err := r.RunNow(f.Context(), "report"); !errors.As(err, &p) {
			t.Errorf("RunNow() = %v, want the panic", err)
		}
		if err := r.RunNow(f.Context(), "rapport"); err == nil || !strings.Contains(err.Error(), "rapport") {
			t.Errorf("RunNow() = %v of a job that is not there", err)
		}
		rival(f)
		ctx, cancel := context.WithTimeout(f.Context(), s)
		defer cancel()
		if err := r.RunNow(ctx, "report"); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, guard.ErrBusy) {
			t.Errorf("RunNow() = %v while the key is held", err)
		}
		free(f)
		if last, err := f.store.LastTick(f.Context(), "report"); err != nil || !last.At.IsZero() {
			t.Errorf("LastTick() = %+v, %v: it used up a tick", last, err)
		}
	}, ran(10, 10)).at(h+s, told(errJob, 3600)).ran(10, 10, 3600)
}

func TestShutdownEndsRunNow(t *testing.T) {
	fleet(t, "@every 1h").job(func(_ *timeline, ctx context.Context) error { <-ctx.Done(); return context.Cause(ctx) }).at(0, func(f *timeline) {
		r, ended := f.replicas[0], make(chan error, 2)
		for range 2 {
			go func() { ended <- r.RunNow(f.Context(), "report") }()
		}
		time.Sleep(s)
		kill(f)
		for range 2 { // one that runs, and one that waits
			if err := <-ended; !errors.Is(err, guard.ErrClosed) {
				t.Errorf("RunNow() = %v, want ErrClosed", err)
			}
		}
		if err := r.RunNow(f.Context(), "report"); !errors.Is(err, guard.ErrClosed) {
			t.Errorf("RunNow() = %v after Shutdown, want ErrClosed", err)
		}
	}).ran(0)
}

// 40 jobs have missed ticks.
func TestBackfillIsSpreadOverTimeAndReplicas(t *testing.T) {
	const jobs, missed = 40, 3
	for name, c := range map[string]struct {
		opts     []cronwrap.Option
		replicas int
		most     int // at once in a process
	}{
		"one replica": {nil, 1, 4},
		"two":         {nil, 2, 4},
		"of ten":      {[]cronwrap.Option{cronwrap.Backfills(10)}, 1, 10},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := guardtest.NewStore()
				f := &timeline{T: t, begun: time.Now(), store: store}
				var mu sync.Mutex
				running, most, ran := make([]int, c.replicas), make([]int, c.replicas), make(map[string]int)
				for i := range jobs {
					claim(f, fmt.Sprint("job", i), 0, 0, true)
				}
				time.Sleep(missed*h + m)
				for i := range c.replicas {
					r := newRunner(t, store, newCron(), nil, append(c.opts, cronwrap.OnError(f.failed)))
					for n := range jobs {
						if _, err := r.Add("@every 1h", fmt.Sprint("job", n), func(ctx context.Context) error {
							mu.Lock()
							ran[fmt.Sprint(cronwrap.JobName(ctx), cronwrap.Tick(ctx))]++
							running[i]++
							most[i] = max(most[i], running[i])
							mu.Unlock()
							time.Sleep(s)
							mu.Lock()
							running[i]--
							mu.Unlock()
							return nil
						}, cronwrap.CatchUp(9, 9*h)); err != nil {
							t.Fatal(err)
						}
					}
					r.cron.Start()
					f.replicas = append(f.replicas, r)
				}
				// One replica needs 30 s, with a limit of 4.
				time.Sleep(time.Duration(jobs*missed/c.most/c.replicas)*s + 10*s)
				mu.Lock()
				for i := range c.replicas {
					if most[i] != c.most {
						t.Errorf("%d backfills at once in a process, want %d", most[i], c.most)
					}
				}
				if len(ran) != jobs*missed {
					t.Errorf("%d ticks ran, want %d", len(ran), jobs*missed)
				}
				for tick, n := range ran {
					if n != 1 {
						t.Errorf("%s ran %d times", tick, n)
					}
				}
				mu.Unlock()
				stop(f)
				for _, e := range f.reported() {
					t.Error(e)
				}
			})
		})
	}
}

// A tick that comes due waits for no slot, unless ticks were missed before it.
func TestTickThatIsDueNeedsNoSlot(t *testing.T) {
	f := later(t, "@every 1h", cronwrap.CatchUp(1, h), cronwrap.Backfills(1)).job(func(*timeline, context.Context) error { time.Sleep(150 * s); return nil })
	f.at(0, began).at(h+m, start(1), each(func(r *replica) {
		if _, err := r.Add("@every 1m", "other", f.record(nothing), cronwrap.CatchUp(9, h)); err != nil {
			t.Fatal(err)
		}
	})).at(h+4*m-s).ran(3600, 3720, 3780)
}

func TestReplicaThatClaimsTicksOfAnotherSpecIsWarnedOf(t *testing.T) {
	for name, c := range map[string]struct {
		here, there string
		want        bool
	}{
		"the same spec":         {"@every 10s", "@every 10s", false},
		"the same ticks":        {"@every 10s", "*/10 * * * * *", false},
		"another spec":          {"@every 10s", "@every 15s", true},
		"another local time":    {"0 0 * * * *", "CRON_TZ=Asia/Kathmandu 0 0 * * * *", true},
		"a spec of which it is": {"@every 10s", "@every 5s", true},
	} {
		t.Run(name, func(t *testing.T) {
			var warned []*cronwrap.Error
			text := logging(func() {
				f := fleet(t, c.here).at(s, func(f *timeline) { f.spec = c.there }, start(1))
				f.at(4*h, func(f *timeline) { warned = f.reported() }).live()
			})
			for _, e := range warned {
				if !errors.Is(e, cronwrap.ErrSpec) || e.Name != "report" || !strings.Contains(e.Error(), "guardtest") {
					t.Errorf("reported: %v", e)
				}
			}
			if got := len(warned); (got > 0) != c.want || got > 2 || strings.Count(text, `"WARN"`) != got {
				t.Errorf("warned %d times, want it %t, and once in a process at most: %v\n%s", got, c.want, warned, text)
			}
		})
	}
}

// The ticks that the spec before had are no reason.
func TestNewSpecIsNoReasonToWarn(t *testing.T) {
	fleet(t, "@every 10s").at(15*s, stop, func(f *timeline) { f.spec = "@every 4s" }).at(17*s, start(2)).at(29*s-ms).ran(10, 20, 24, 28)
}
