package httpmw_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
	"github.com/jobguard/jobguard/guard/httpmw"
)

// fleet serves one route by several processes on one store, without a network.
type fleet struct {
	store    *guardtest.Store
	replicas []http.Handler
}

func newFleet(t testing.TB, replicas int, h http.HandlerFunc, opts []guard.Option, own ...httpmw.Option) *fleet {
	t.Helper()
	f := &fleet{store: guardtest.NewStore()}
	for range replicas {
		g, err := guard.New(f.store, opts...)
		if err != nil {
			t.Fatal(err)
		}
		mux := http.NewServeMux()
		mux.Handle("/stock/{sku}", httpmw.New(g, httpmw.PathValue("sku"), own...)(h))
		f.replicas = append(f.replicas, mux)
	}
	return f
}

// ask sends one request to a replica and returns its status and Retry-After.
func (f *fleet) ask(ctx context.Context, replica int, path string) (status int, after time.Duration) {
	w := httptest.NewRecorder()
	r := httptest.NewRequestWithContext(ctx, "POST", path, http.NoBody)
	f.replicas[replica%len(f.replicas)].ServeHTTP(w, r)
	seconds, _ := strconv.Atoi(w.Header().Get("Retry-After"))
	return w.Code, time.Duration(seconds) * time.Second
}

// obey sends n requests at once, again to another replica when Retry-After says, until
// all are served. It returns how long the last one took, and when those that were
// refused at first came back.
func (f *fleet) obey(t testing.TB, n int) (last time.Duration, back []time.Duration) {
	var all sync.WaitGroup
	var mu sync.Mutex
	start := time.Now()
	for i := range n {
		all.Go(func() {
			for try := 0; ; try++ {
				status, after := f.ask(t.Context(), i+try, path)
				if status == http.StatusOK {
					return
				}
				if status != http.StatusConflict || after < time.Second || after > time.Minute {
					t.Errorf("status %d, Retry-After %v", status, after)
					return
				}
				if try == 0 {
					mu.Lock()
					back = append(back, time.Since(start)+after)
					mu.Unlock()
				}
				time.Sleep(after)
			}
		})
	}
	all.Wait()
	slices.Sort(back)
	return time.Since(start), back
}

// Clients that do as Retry-After says keep the key in use nearly all the time. They do
// not come back together.
func TestClientsThatObeyRetryAfterAreServedOneAfterTheOther(t *testing.T) {
	const most = 1.25
	noWait := []guard.Option{guard.Wait(0)}
	for _, c := range []struct {
		replicas, clients int
		run               time.Duration
		opts              []guard.Option
		most              float64 // times the sum of the runs
	}{
		{1, 8, 2500 * time.Millisecond, nil, most},
		{1, 8, time.Second, nil, most},
		{1, 8, 7 * time.Second, nil, most},
		{1, 200, 100 * time.Millisecond, nil, most},
		{1, 40, 2500 * time.Millisecond, nil, most},
		{3, 8, 2500 * time.Millisecond, nil, most},
		{3, 40, 3 * time.Second, nil, most},
		{1, 8, 2500 * time.Millisecond, noWait, 1.5},
		{3, 8, 2500 * time.Millisecond, noWait, 1.5},
		{1, 8, time.Second, noWait, 2}, // one run in two seconds, since the next must not come too early
		{1, 32, 4 * time.Second, []guard.Option{guard.Limit(4)}, most / 4},
	} {
		t.Run(fmt.Sprintf("%d clients at %d replicas, runs of %v, %d options", c.clients, c.replicas, c.run, len(c.opts)), func(t *testing.T) {
			for _, warm := range []bool{false, true} {
				synctest.Test(t, func(t *testing.T) {
					f := newFleet(t, c.replicas, func(http.ResponseWriter, *http.Request) { time.Sleep(c.run) }, c.opts)
					if warm { // runs have been measured
						for i := range f.replicas {
							f.ask(t.Context(), i, path)
						}
					}
					last, back := f.obey(t, c.clients)
					if limit := time.Duration(float64(c.clients) * float64(c.run) * c.most); last > limit {
						t.Errorf("the last was served after %v, want %v (runs measured: %v)", last, limit, warm)
					}
					if len(back) < c.clients/2 {
						t.Errorf("%d were refused", len(back))
					}
					if c.replicas > 1 || c.run < time.Second || len(back) > 10 {
						return
					}
					for i := range back[1:] {
						if back[i+1]-back[i] < time.Second {
							t.Errorf("two came back in one second: %v", back)
						}
					}
				})
			}
		})
	}
}

// crowd sends n requests at once, of which all are to be refused, and returns their
// Retry-After.
func (f *fleet) crowd(t testing.TB, n int) []time.Duration {
	var all sync.WaitGroup
	told := make([]time.Duration, n)
	for i := range n {
		all.Go(func() {
			status, after := f.ask(t.Context(), i, path)
			if status != http.StatusConflict {
				t.Errorf("status %d", status)
			}
			told[i] = after
		})
	}
	all.Wait()
	return told
}

func TestRetryAfterIsAMinuteAtMostAndSpreadsWhatDoesNotFit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 1, func(http.ResponseWriter, *http.Request) { time.Sleep(2 * time.Second) }, nil)
		f.ask(t.Context(), 0, path)
		f.store.Hold(key, "rival")
		count := make(map[time.Duration]int)
		for _, after := range f.crowd(t, 900) {
			if after < time.Second || after > time.Minute {
				t.Errorf("Retry-After %v", after)
			}
			count[after]++
		}
		for after, n := range count {
			if most := 100; n > most { // about 30 have a time of their own, the others share 30 s
				t.Errorf("%d of 900 were told %v", n, after)
			}
		}
	})
}

func TestRetryAfterFollowsFromRunsAndNotFromTheLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 1, func(http.ResponseWriter, *http.Request) { time.Sleep(3 * time.Second) }, []guard.Option{guard.Wait(0), guard.TTL(time.Hour)})
		f.ask(t.Context(), 0, path)
		go f.ask(t.Context(), 0, path) // ends within the minute
		synctest.Wait()
		time.Sleep(time.Second)
		if _, after := f.ask(t.Context(), 0, path); after != 2*time.Second {
			t.Errorf("Retry-After %v, want what is left of the run", after)
		}
		if _, after := f.ask(t.Context(), 0, path); after != 6*time.Second {
			t.Errorf("Retry-After %v, want that of the one before, a run, and a second", after)
		}
		time.Sleep(time.Minute)
		f.store.HoldFor(key, "rival", 2*time.Hour)
		if _, after := f.ask(t.Context(), 0, path); after > 3*time.Second {
			t.Errorf("Retry-After %v, want a run at most", after)
		}
	})
}

func TestRetryAfterOfAKeyThatMinHoldKeepsClosedIsExact(t *testing.T) {
	for name, opt := range map[string]guard.Option{"tries once": guard.Wait(0), "waits": guard.Wait(2 * time.Second)} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFleet(t, 1, func(http.ResponseWriter, *http.Request) { time.Sleep(time.Second) }, []guard.Option{guard.MinHold(100 * time.Second), opt})
				start := time.Now()
				f.ask(t.Context(), 0, path)
				_, first := f.ask(t.Context(), 0, path)
				if back := time.Since(start) + first; back != 100*time.Second {
					t.Errorf("comes back after %v, want 1m40s", back)
				}
				_, second := f.ask(t.Context(), 0, path)
				if back := time.Since(start) + second; back < 101*time.Second || back > 105*time.Second {
					t.Errorf("the next comes back after %v, want a run later", back)
				}
			})
		})
	}
}

func TestRequestWhoseContextEndedTakesNoTimeFromOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 1, func(http.ResponseWriter, *http.Request) { time.Sleep(10 * time.Second) }, nil)
		f.ask(t.Context(), 0, path)
		var running sync.WaitGroup
		running.Go(func() { f.ask(t.Context(), 0, path) })
		synctest.Wait()
		for range 10 {
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			status, after := f.ask(ctx, 0, path)
			cancel()
			if status != http.StatusConflict || after < 9*time.Second || after > 10*time.Second {
				t.Errorf("status %d, Retry-After %v, want what is left of the run", status, after)
			}
		}
		if _, after := f.ask(t.Context(), 0, path); after != 7*time.Second {
			t.Errorf("Retry-After %v, want 7s", after)
		}
		running.Wait()
	})
}

func TestErrorHandlerCanAskForRetryAfter(t *testing.T) {
	got := make(chan time.Duration, 1)
	w := newWorld(t, never(t), withGuard(guard.Wait(0)), withOptions(httpmw.WithErrorHandler(
		func(_ http.ResponseWriter, _ *http.Request, err error) { got <- httpmw.RetryAfter(err) }))) // and leaves the answer to Problem
	w.store.Hold(key, "rival")
	for range 3 {
		isProblem(t, w.get("GET"), http.StatusConflict, strconv.Itoa(int(await(t, "the error", got).Seconds())))
	}
	for want, err := range map[time.Duration]error{
		0:               &guard.Error{Kind: guard.ErrLost, RetryAfter: time.Minute},
		time.Second:     &guard.Error{Kind: guard.ErrUnavailable},
		3 * time.Second: fmt.Errorf("second step: %w", &guard.Error{Kind: guard.ErrBusy, RetryAfter: 2500 * time.Millisecond}),
	} {
		if d := httpmw.RetryAfter(err); d != want {
			t.Errorf("RetryAfter(%v) = %v, want %v", err, d, want)
		}
	}
	if d := httpmw.RetryAfter(errors.New("disk full")); d != 0 {
		t.Errorf("RetryAfter of another error = %v", d)
	}
}
