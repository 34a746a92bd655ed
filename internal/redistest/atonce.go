package redistest

import (
	"sync"
	"testing"
)

// AtOnce runs subtests beside each other, however few processors there are: those that mostly
// wait, for a lease to expire or a server to come back. t.Parallel is for those that work.
//
//	var subtests redistest.AtOnce
//	defer subtests.Wait()
//	for name, c := range cases {
//		subtests.Run(t, name, func(t *testing.T) {
type AtOnce struct{ all sync.WaitGroup }

// Run starts t.Run on a goroutine of its own, which ends with the subtest.
func (a *AtOnce) Run(t *testing.T, name string, f func(*testing.T)) {
	a.all.Go(func() { t.Run(name, f) })
}

// Wait waits for the subtests. It must be called before their parent returns.
func (a *AtOnce) Wait() { a.all.Wait() }
