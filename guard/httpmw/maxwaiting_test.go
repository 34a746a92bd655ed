package httpmw_test

import (
	"errors"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
	"github.com/jobguard/jobguard/guard/httpmw"
)

func TestRequestBeyondMaxWaitingIsRefusedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var why error
		f := newFleet(t, 1, func(http.ResponseWriter, *http.Request) {}, []guard.Option{guard.Wait(time.Hour)}, httpmw.MaxWaiting(2),
			httpmw.WithErrorHandler(func(_ http.ResponseWriter, _ *http.Request, err error) { why = err })) // Problem answers
		f.store.Hold(key, "rival")
		served := make(chan int, 2)
		for range 2 {
			go func() {
				status, _ := f.ask(t.Context(), 0, path)
				served <- status
			}()
		}
		synctest.Wait()
		start, asked := time.Now(), f.store.Calls(guardtest.OpAcquire)
		status, after := f.ask(t.Context(), 0, path)
		if status != http.StatusConflict || after == 0 || time.Since(start) != 0 || f.store.Calls(guardtest.OpAcquire) != asked {
			t.Errorf("status %d, Retry-After %v, after %v", status, after, time.Since(start))
		}
		var e *guard.Error
		if !errors.Is(why, guard.ErrBusy) || !errors.Is(why, httpmw.ErrMaxWaiting) || !errors.As(why, &e) || e.Key != key {
			t.Errorf("error %v", why)
		}
		if status, _ := f.ask(t.Context(), 0, "/stock/another"); status != http.StatusOK {
			t.Errorf("another key: status %d", status)
		}
		f.store.Expire(key)
		for range 2 {
			if status := <-served; status != http.StatusOK {
				t.Errorf("waiting: status %d", status)
			}
		}
		if status, _ := f.ask(t.Context(), 0, path); status != http.StatusOK {
			t.Errorf("when none waits: status %d", status)
		}
	})
}

func TestOfAFloodForOneKeyAThousandWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 1, never(t), nil)
		f.store.Hold(key, "rival")
		const flood = 20_000
		var all sync.WaitGroup
		var atOnce, waited atomic.Int32
		start := time.Now()
		for range flood {
			all.Go(func() {
				status, after := f.ask(t.Context(), 0, path)
				if status != http.StatusConflict || after < time.Second || after > time.Minute {
					t.Errorf("status %d, Retry-After %v", status, after)
				}
				switch time.Since(start) {
				case 0:
					atOnce.Add(1)
				case 2 * time.Second:
					waited.Add(1)
				}
			})
		}
		all.Wait()
		if atOnce.Load() != flood-1000 || waited.Load() != 1000 {
			t.Errorf("%d were refused at once, %d after 2 s", atOnce.Load(), waited.Load())
		}
	})
}

func TestRequestThatHoldsTheKeyDoesNotCountAsWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		entered, enter := make(chan struct{}), make(chan struct{})
		var f *fleet
		f = newFleet(t, 1, func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Nested") == "" {
				entered <- struct{}{}
				<-enter
				r.Header.Set("Nested", "yes")
				f.replicas[0].ServeHTTP(w, r)
			}
		}, nil, httpmw.MaxWaiting(1))
		statuses := make(chan int, 2)
		go func() { status, _ := f.ask(t.Context(), 0, path); statuses <- status }()
		<-entered
		go func() { status, _ := f.ask(t.Context(), 0, path); statuses <- status }()
		synctest.Wait() // it is all that may wait
		enter <- struct{}{}
		<-entered
		enter <- struct{}{}
		for range 2 {
			if status := <-statuses; status != http.StatusOK {
				t.Errorf("status %d", status)
			}
		}
	})
}
