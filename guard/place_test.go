package guard_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jobguard/jobguard/guard"
)

func TestLocalWaiterThatCameFirstIsServedBeforeThatOfAnotherProcess(t *testing.T) {
	const tenure = 10 * time.Millisecond // until then the key may be handed on locally
	for name, at := range map[string]struct{ local, other time.Duration }{
		"who came after a tenure":                  {time.Second, 2 * time.Second},
		"who came within a tenure and outlasts it": {tenure / 2, tenure + time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, a, b := twoProcesses(t)
				end, result := hold(t, a, "k")
				began := time.Now()
				var served []string // guarded by the key
				var wg sync.WaitGroup
				wait := func(g *guard.Guard, who string, when time.Duration) {
					time.Sleep(time.Until(began.Add(when)))
					wg.Go(func() {
						err := g.Do(t.Context(), "k", func(context.Context) error {
							served = append(served, who)
							return nil
						})
						if err != nil {
							t.Error(err)
						}
					})
					synctest.Wait() // it stands in line
				}
				wait(a, "local", at.local)
				wait(b, "other", at.other)
				time.Sleep(3 * time.Second)
				end()
				wg.Wait()
				if !slices.Equal(served, []string{"local", "other"}) {
					t.Errorf("served %q, want those who came first", served)
				}
				if err := <-result; err != nil {
					t.Error(err)
				}
			})
		})
	}
}
