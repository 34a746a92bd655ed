package guard_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/internal/redistest"
)

// On loopback, where a round trip is two wake-ups, there is nothing to win; over a
// link, half of the time is.
func TestRedisAsyncReleaseSavesARoundTripOverALink(t *testing.T) {
	s := redistest.Start(t)
	p := redistest.NewProxy(t, s.Addr())
	g := onRedis(t, p.Addr())
	later := g.With(guard.AsyncRelease())
	must(t, g.Do(t.Context(), "first", nothing)) // makes a connection
	p.Delay(10 * time.Millisecond)
	best := func(g *guard.Guard, name string) time.Duration {
		least := time.Hour
		for i := range 10 {
			began := time.Now()
			must(t, g.Do(t.Context(), fmt.Sprint(name, i%2), nothing))
			least = min(least, time.Since(began))
		}
		return least
	}
	waits, returns := best(g, "waits"), best(later, "returns")
	if returns > waits*2/3 {
		t.Errorf("%v, %v without AsyncRelease: want a half", returns, waits)
	}
	must(t, g.Shutdown(t.Context()))
	if n := s.Client(t).Exists(t.Context(), "guard:returns0", "guard:returns1").Val(); n != 0 {
		t.Errorf("%d keys are held after Shutdown", n)
	}
}
