package quorum

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/jobguard/jobguard/guard/lease"
)

// Each of three waiters is the first in the queue of one node, so that a release grants
// each of them a third of the key.
func TestASplitVoteEnds(t *testing.T) {
	for try := range 50 {
		bubble(t, 3, func(t *testing.T, b *bench) {
			holder, _ := b.mustAcquire(b.s)
			done := make(chan time.Time, 3)
			staged := make(chan struct{})
			for i := range 3 {
				s := b.other()
				owner := s.NewOwner("")
				woken := make(chan struct{}, 1)
				s.Watch(owner, lease.WakeFunc(func(lease.Grant) bool {
					select {
					case woken <- struct{}{}:
					default:
					}
					return false
				}))
				r := request(s.idOn(i, 0, owner))
				if reply, err := b.nodes[i].Acquire(t.Context(), r); err != nil || !reply.Head {
					t.Fatalf("%+v, %v", reply, err)
				}
				go func() {
					defer s.Unwatch(owner)
					<-staged
					for {
						if reply, err := b.acquire(s, owner); err != nil {
							t.Error(err)
						} else if reply.Granted {
							break
						}
						select {
						case <-woken:
						case <-time.After(time.Minute): // no message is lost
						}
					}
					if _, err := s.Release(t.Context(), lease.ReleaseRequest{Key: key, Owner: owner, Place: place}); err != nil {
						t.Error(err)
					}
					done <- time.Now()
				}()
			}
			close(staged)
			synctest.Wait()
			released := time.Now()
			if _, err := b.release(holder); err != nil {
				t.Error(err)
			}
			var last time.Time
			for range 3 {
				last = <-done
			}
			if took := last.Sub(released); took > place.Reservation/2 {
				t.Errorf("try %d: the last of three was served after %v", try, took)
			}
		})
	}
}
