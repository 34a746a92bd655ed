package stop_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/jobguard/jobguard/guard/stop"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// told is what a step did: it began at a time, and its context ended at another.
type told struct{ began, ended time.Duration }

func TestStepsRunInOrderEachInItsTime(t *testing.T) {
	const s = time.Second
	for name, c := range map[string]struct {
		budgets []time.Duration // 0: a share
		ignores time.Duration   // for how long a step goes on after the end of its context
		early   int             // the step that returns at once; -1: none
		want    []told
		late    int
	}{
		"shares":                {[]time.Duration{0, 0, 0}, 0, -1, []told{{0, 6 * s}, {6 * s, 14 * s}, {14 * s, 68 * s / 3}}, 0},
		"a budget":              {[]time.Duration{21 * s, 0, 0}, 13 * s / 2, -1, []told{{0, 14 * s}, {41 * s / 2, 41*s/2 + 7*s/3}, {24 * s, 26 * s}}, 2},
		"one that ends at once": {[]time.Duration{0, 0, 0}, 3 * s, 0, []told{{0, 0}, {0, 12 * s}, {15 * s, 23 * s}}, 0},
		"steps that are late":   {[]time.Duration{0, 0, 0}, time.Hour, -1, []told{{0, 6 * s}, {9 * s, 15 * s}, {18 * s, 24 * s}}, 3},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				got := make([]told, len(c.budgets))
				steps := stop.New(27 * s)
				for i, b := range c.budgets {
					var opts []stop.Option
					if b > 0 {
						opts = append(opts, stop.Budget(b))
					}
					steps.Add(fmt.Sprint("step ", i), func(ctx context.Context) error {
						got[i].began = time.Since(start)
						if i == c.early {
							return nil
						}
						<-ctx.Done()
						got[i].ended = time.Since(start)
						time.Sleep(c.ignores)
						return nil
					}, opts...)
				}
				err := steps.Stop()
				if d := time.Since(start); d > 27*s {
					t.Errorf("Stop took %v", d)
				}
				text := ""
				if err != nil {
					text = err.Error()
				}
				if n := strings.Count(text, stop.ErrLate.Error()); n != c.late || errors.Is(err, stop.ErrLate) != (c.late > 0) {
					t.Errorf("Stop() = %v, want %d that are late", err, c.late)
				}
				time.Sleep(2 * time.Hour) // late ones return
				synctest.Wait()
				for i, want := range c.want {
					if d := (got[i].began - want.began).Abs() + (got[i].ended - want.ended).Abs(); d > time.Millisecond {
						t.Errorf("step %d: %v, want %v", i, got[i], want)
					}
				}
			})
		})
	}
}

func TestStepThatFailsKeepsNoOtherFromRunning(t *testing.T) {
	failed := errors.New("no route")
	ran := 0
	steps := stop.New(time.Minute)
	steps.Add("first", func(context.Context) error { ran++; return failed })
	steps.Add("second", func(context.Context) error { ran++; panic("oh") })
	steps.Add("third", func(ctx context.Context) error { ran++; return ctx.Err() })
	err := steps.Stop()
	if ran != 3 || !errors.Is(err, failed) {
		t.Errorf("%d ran, Stop() = %v", ran, err)
	}
	for _, want := range []string{"stop: first: no route", "stop: second: panic: oh"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("Stop() = %v, want %q in it", err, want)
		}
	}
	if strings.Contains(err.Error(), "third") {
		t.Errorf("Stop() = %v", err)
	}
}

func TestStepThatCallsGoexitIsReportedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		steps := stop.New(time.Minute)
		steps.Add("exits", func(context.Context) error { runtime.Goexit(); return nil })
		start := time.Now()
		if err := steps.Stop(); err == nil || errors.Is(err, stop.ErrLate) || time.Since(start) != 0 {
			t.Errorf("Stop() = %v after %v", err, time.Since(start))
		}
	})
}

func TestSecondStopWaitsForTheFirstAndReturnsTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		failed := errors.New("failed")
		steps := stop.New(time.Minute)
		steps.Add("slow", func(context.Context) error { time.Sleep(time.Second); return failed })
		errs := make(chan error, 2)
		start := time.Now()
		for range cap(errs) {
			go func() { errs <- steps.Stop() }()
		}
		for range cap(errs) {
			if err := <-errs; !errors.Is(err, failed) || time.Since(start) != time.Second {
				t.Errorf("Stop() = %v after %v", err, time.Since(start))
			}
		}
	})
}

func TestMisuseOfStepsPanics(t *testing.T) {
	nothing := func(context.Context) error { return nil }
	for want, f := range map[string]func(){
		"stop: New: 0s is no time to stop in":                                func() { stop.New(0) },
		`stop: Add of "a": nil function`:                                     func() { stop.New(1).Add("a", nil) },
		`stop: Budget -1ns of "a" is not positive`:                           func() { stop.New(1).Add("a", nothing, stop.Budget(-1)) },
		`stop: Add of "a": budgets of 2ns leave nothing of the total of 1ns`: func() { stop.New(1).Add("a", nothing, stop.Budget(2)) },
		`stop: Add of "b": budgets of 1ns leave nothing of the total of 1ns`: func() {
			s := stop.New(1)
			s.Add("a", nothing, stop.Budget(1))
			s.Add("b", nothing)
		},
		`stop: Add of "a" after Stop`: func() {
			s := stop.New(1)
			_ = s.Stop()
			s.Add("a", nothing)
		},
	} {
		func() {
			defer func() {
				if got := recover(); got != want {
					t.Errorf("panic %v, want %v", got, want)
				}
			}()
			f()
		}()
	}
}

func TestDocShowsTheExample(t *testing.T) {
	doc, err1 := os.ReadFile("doc.go")
	example, err2 := os.ReadFile("example_test.go")
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	squeeze := func(s string) string { return strings.Join(strings.Fields(s), " ") }
	code := ""
	for line := range strings.Lines(string(doc)) {
		if block, is := strings.CutPrefix(line, "//\t"); is {
			code += block
		}
	}
	if n := strings.Count(code, "steps.Add("); n < 7 || !strings.Contains(squeeze(string(example)), squeeze(code)) {
		t.Errorf("the example does not have the %d steps of the doc:\n%s", n, code)
	}
}
