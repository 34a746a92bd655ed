package guard_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
)

func TestLogObserverWritesLossesHoldersAndLevels(t *testing.T) {
	var out bytes.Buffer
	log := guard.LogObserver(slog.New(slog.NewTextHandler(&out, nil)))
	inBubble(t, func(t *testing.T, store *guardtest.Store, g *guard.Guard) {
		_ = g.Do(t.Context(), "k", func(ctx context.Context) error {
			store.Inject(guardtest.Fault{Op: guardtest.OpRenew, Err: errors.New("LOADING"), Times: 1})
			time.Sleep(5 * time.Second)
			store.Hold("k", "thief")
			return untilDone(ctx)
		})
		store.Fail(errors.New("connection refused"))
		_ = g.Do(t.Context(), "k", nothing)
		store.Fail(nil)
	}, guard.Observe(log), guard.Name("orders"), guard.Wait(0))
	for _, want := range []string{
		`level=INFO msg="guard: renew failed" name=orders`,
		`level=WARN msg="guard: lost" name=orders key=k`, "reason=not_owner", "thief",
		`level=WARN msg="guard: not acquired" name=orders`,
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in %q", want, out.String())
		}
	}
}

// logged runs f and returns what a LogObserver wrote meanwhile, a line a record.
func logged(t *testing.T, f func(*testing.T, *guardtest.Store, *guard.Guard), opts ...guard.Option) []string {
	t.Helper()
	var out bytes.Buffer
	log := guard.LogObserver(slog.New(slog.NewTextHandler(&out, nil)))
	inBubble(t, f, append(opts, guard.Observe(log))...)
	return strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
}

// with returns those of lines that contain all of parts.
func with(lines []string, parts ...string) (found []string) {
	for _, line := range lines {
		if !slices.ContainsFunc(parts, func(p string) bool { return !strings.Contains(line, p) }) {
			found = append(found, line)
		}
	}
	return found
}

// Ten workers of each of two names try ten times a second.
// That an operator, a newcomer or MaxHold ended a run is seen at level Info, and no record says of a
// lost lease that it was released.
func TestLogObserverWritesHowARunEnded(t *testing.T) {
	for name, c := range map[string]struct {
		end  func(store *guardtest.Store)
		want []string
	}{
		"revoked":  {func(s *guardtest.Store) { _ = s.Revoke("k", "deploy") }, []string{"level=INFO", `msg="guard: stopped"`, "release=released", "deploy"}},
		"max hold": {func(*guardtest.Store) { time.Sleep(time.Minute) }, []string{"level=INFO", `msg="guard: stopped"`}},
		"lost":     {func(s *guardtest.Store) { s.Hold("k", "thief"); time.Sleep(5 * time.Second) }, []string{"level=DEBUG", `msg="guard: ended"`, "release=lost"}},
		"returned": {nil, []string{"level=DEBUG", `msg="guard: ended"`, "release=released"}},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			log := guard.LogObserver(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug})))
			inBubble(t, func(t *testing.T, store *guardtest.Store, g *guard.Guard) {
				_ = g.Do(t.Context(), "k", func(ctx context.Context) error {
					if c.end == nil {
						return nil
					}
					c.end(store)
					return untilDone(ctx)
				})
			}, guard.Observe(log), guard.MaxHold(30*time.Second))
			lines := strings.Split(out.String(), "\n")
			if len(with(lines, c.want...)) != 1 {
				t.Errorf("no record has %q:\n%s", c.want, out.String())
			}
		})
	}
}

func TestLogObserverSamplesWhatAnOutageRepeats(t *testing.T) {
	lines := logged(t, func(t *testing.T, store *guardtest.Store, g *guard.Guard) {
		store.Fail(errors.New("connection refused"))
		var workers sync.WaitGroup
		for i := range 20 {
			g := g.With(guard.Name([]string{"orders", "invoices"}[i%2]))
			workers.Go(func() {
				for range 150 { // 15 s
					_ = g.Do(t.Context(), "k", nothing)
					time.Sleep(100 * time.Millisecond)
				}
			})
		}
		workers.Wait()
		store.Fail(nil)
	}, guard.Wait(0))
	if len(lines) != 4 {
		t.Fatalf("%d lines in 15 s, want two of each name:\n%s", len(lines), strings.Join(lines, "\n"))
	}
	for _, name := range []string{"name=orders", "name=invoices"} {
		of := with(lines, name, `level=WARN msg="guard: not acquired"`)
		if len(of) != 2 || strings.Contains(of[0], "left_out") || !strings.Contains(of[1], "left_out=") {
			t.Errorf("%s: %q", name, of)
		}
		if left := regexp.MustCompile(`left_out=(\d+)`).FindStringSubmatch(of[len(of)-1]); len(left) != 2 || len(left[1]) < 3 {
			t.Errorf("%s: about 1000 attempts were left out, the record says %q", name, left)
		}
	}
}

func TestLogObserverWritesEachLossAndEachBusyKey(t *testing.T) {
	lines := logged(t, func(t *testing.T, store *guardtest.Store, g *guard.Guard) {
		var runs sync.WaitGroup
		for i := range 5 {
			runs.Go(func() { _ = g.Do(t.Context(), fmt.Sprint("lost", i), untilDone) })
		}
		time.Sleep(time.Second)
		store.Fail(errors.New("connection refused"))
		runs.Wait()
		store.Fail(nil)
		store.Hold("busy", "thief")
		for range 5 {
			_ = g.Do(t.Context(), "busy", nothing)
		}
	}, guard.Wait(0))
	if lost := with(lines, `msg="guard: lost"`, "reason=expired"); len(lost) != 5 {
		t.Errorf("%d of 5 losses: %q", len(lost), lost)
	}
	if busy := with(lines, `level=INFO msg="guard: not acquired"`); len(busy) != 5 {
		t.Errorf("%d of 5 refusals: %q", len(busy), busy)
	}
	if failed := with(lines, `msg="guard: renew failed"`); len(failed) != 1 {
		t.Errorf("renewals of 5 leases failed for less than 10 s, written %d times: %q", len(failed), failed)
	}
}
