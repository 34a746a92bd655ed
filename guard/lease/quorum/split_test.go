package quorum

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jobguard/jobguard/guard/guardtest"
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

func TestOwnerThatGivesAPartBackAgainAndAgainStandsLast(t *testing.T) {
	waitingBubble(t, 3, func(w *waiting) {
		first := w.hold(0)
		for i := 1; i < 3; { // two others have the other nodes, and lower ranks
			if o := w.s.NewOwner(""); rank(o) < rank(w.owner) {
				w.nodes[i].Hold(key, w.s.idOn(i, 0, o))
				i++
			}
		}
		w.mustWait() // and takes a place in each queue
		place := w.s.owners[w.owner].parts[0].ticket
		if _, err := w.nodes[0].Release(t.Context(), lease.ReleaseRequest{Key: key, Owner: w.s.idOn(0, 0, first), Place: w.s.owners[w.owner].place}); err != nil {
			t.Fatal(err)
		}
		for n := 1; n <= 4; n++ {
			w.mustWait()
			if _, kept := w.nodes[0].Holder(key); kept {
				t.Fatal("the part was kept")
			}
			switch ticket := w.s.owners[w.owner].parts[0].ticket; {
			case n <= 2 && ticket != place:
				t.Errorf("after it gave its part back %d times: ticket %d, want its own %d", n, ticket, place)
			case n > 2 && ticket != 0:
				t.Errorf("after it gave its part back %d times: ticket %d, want a new one", n, ticket)
			}
		}
	})
}

// readersUnnamed is a node that does not say which readers have a key, as redisstore's do not.
type readersUnnamed struct {
	*guardtest.Store
	readers map[string]bool // owner ids
}

func (n readersUnnamed) Acquire(ctx context.Context, r lease.AcquireRequest) (lease.AcquireReply, error) {
	reply, err := n.Store.Acquire(ctx, r)
	if n.readers[ownerOf(reply.Holder)] {
		reply.Holder = "shared|name|"
	}
	return reply, err
}

// Two readers have a node each, a writer has the third. The readers could share their nodes,
// but writers stand in line there before them. Whoever keeps its node, and waits for the
// others to give theirs back, may wait for one who does the same.
func TestReadersAndWritersThatHaveANodeEachDoNotWaitForEachOtherForEver(t *testing.T) {
	for try := range 50 {
		bubble(t, 3, func(t *testing.T, b *bench) {
			readers := make(map[string]bool)
			process := func() *Store {
				stores := make([]lease.Store, len(b.nodes))
				for i, n := range b.nodes {
					stores[i] = readersUnnamed{n, readers}
				}
				return mustNew(t, stores...)
			}
			holder, _ := b.mustAcquire(b.s)
			limits := []lease.Limit{lease.Shared, lease.Exclusive, lease.Shared, lease.Exclusive, lease.Exclusive}
			stores, owners := make([]*Store, len(limits)), make([]string, len(limits))
			for i, limit := range limits {
				stores[i] = process()
				owners[i] = stores[i].NewOwner("")
				readers[owners[i]] = limit == lease.Shared
			}
			ask := func(i int) lease.AcquireRequest {
				r := request(owners[i])
				r.Limit = limits[i]
				return r
			}
			for i := range b.nodes { // each is the first at one node
				r := ask(i)
				r.Owner = stores[i].idOn(i, 0, owners[i])
				if reply, err := b.nodes[i].Acquire(t.Context(), r); err != nil || !reply.Head {
					t.Fatalf("%+v, %v", reply, err)
				}
			}
			done := make(chan time.Time, len(limits))
			for _, i := range []int{3, 4, 0, 1, 2} { // in this order at the other nodes
				woken := make(chan struct{}, 1)
				stores[i].Watch(owners[i], lease.WakeFunc(func(lease.Grant) bool {
					select {
					case woken <- struct{}{}:
					default:
					}
					return false
				}))
				go func() {
					defer stores[i].Unwatch(owners[i])
					for end := time.Now().Add(time.Minute); ; {
						a := timeout(time.Second)
						reply, err := stores[i].Acquire(a, ask(i))
						a.End()
						if err != nil || time.Now().After(end) {
							t.Errorf("try %d: Acquire() = %+v, %v", try, reply, err)
							done <- time.Now()
							return
						}
						if reply.Granted {
							break
						}
						select {
						case <-woken:
						case <-time.After(250 * time.Millisecond): // as the engine polls
						}
					}
					if _, err := stores[i].Release(t.Context(), lease.ReleaseRequest{Key: key, Owner: owners[i], Limit: limits[i], Place: place}); err != nil {
						t.Error(err)
					}
					done <- time.Now()
				}()
				synctest.Wait()
			}
			released := time.Now()
			if _, err := b.release(holder); err != nil {
				t.Error(err)
			}
			var last time.Time
			for range limits {
				last = <-done
			}
			if took := last.Sub(released); took > ttl/2 {
				t.Errorf("try %d: the last of %d was served after %v", try, len(limits), took)
			}
		})
	}
}
