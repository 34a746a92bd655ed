package quorum

import (
	"sync"
	"testing"
	"time"

	"github.com/jobguard/jobguard/guard/guardtest"
	"github.com/jobguard/jobguard/guard/lease"
)

// announcer is a node that wakes nobody: the test does.
type announcer struct {
	*guardtest.Store
	wakers  map[string]lease.Waker // by id
	latest  string
	onWatch func()
}

func (n *announcer) Watch(id string, w lease.Waker) {
	n.wakers[id], n.latest = w, id
	if n.onWatch != nil {
		n.onWatch()
	}
}

func (n *announcer) Unwatch(id string) { delete(n.wakers, id) }

// announce tells the owner under its latest id of a grant with 1000 tokens.
func (n *announcer) announce(fence int64, since time.Time) (taken bool) {
	return n.wakers[n.latest].Woken(lease.Grant{Fence: fence, TokenCount: 1000, Since: since})
}

// waiting is a bench with an owner that waits for a key which nodes have granted to others.
type waiting struct {
	*bench
	nodes []*announcer
	owner string

	mu    sync.Mutex
	wakes []lease.Grant
}

func newWaiting(t *testing.T, n int) *waiting {
	w := &waiting{bench: &bench{T: t}}
	var stores []lease.Store
	for range n {
		node := &announcer{Store: guardtest.NewStore(), wakers: make(map[string]lease.Waker)}
		w.nodes = append(w.nodes, node)
		w.bench.nodes = append(w.bench.nodes, node.Store)
		stores = append(stores, node)
	}
	w.s = mustNew(t, stores...)
	w.owner = w.s.NewOwner("")
	w.s.Watch(w.owner, lease.WakeFunc(func(g lease.Grant) bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.wakes = append(w.wakes, g)
		return g.Fence != 0
	}))
	return w
}

// hold has another owner hold node i's part, and returns it.
func (w *waiting) hold(i int) (other string) {
	other = w.s.NewOwner("")
	w.nodes[i].Hold(key, w.s.idOn(i, 0, other))
	return other
}

func (w *waiting) mustWait() {
	w.Helper()
	if reply, err := w.acquire(w.s, w.owner); err != nil || reply.Granted {
		w.Fatalf("Acquire() = %+v, %v; want refused", reply, err)
	}
}

// wantWakes takes the wake-ups so far, which must be these.
func (w *waiting) wantWakes(want ...lease.Grant) {
	w.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.wakes) != len(want) {
		w.Fatalf("woken with %+v, want %+v", w.wakes, want)
	}
	for i, g := range w.wakes {
		if g.Fence != want[i].Fence || g.TokenCount != want[i].TokenCount || !g.Since.Equal(want[i].Since) {
			w.Errorf("woken with %+v, want %+v", g, want[i])
		}
	}
	w.wakes = nil
}

func waitingBubble(t *testing.T, n int, test func(w *waiting)) {
	t.Helper()
	bubble(t, n, func(t *testing.T, _ *bench) {
		w := newWaiting(t, n)
		test(w)
		w.s.Unwatch(w.owner)
		_, _ = w.release(w.owner)
	})
}

// The token is the highest first one, and the lease counts from the earliest grant.
func TestGrantsOfAMajorityAreAGrant(t *testing.T) {
	waitingBubble(t, 3, func(w *waiting) {
		for i := range w.nodes {
			w.hold(i)
		}
		w.mustWait()
		now := time.Now()
		if !w.nodes[0].announce(500, now) {
			w.Error("the first node's grant is not counted on")
		}
		w.wantWakes()
		w.nodes[2].announce(700, now.Add(-50*time.Millisecond))
		w.wantWakes(lease.Grant{Fence: 700, TokenCount: 1, Since: now.Add(-50 * time.Millisecond)})
	})
}

func TestTheGrantsThatLastLongestAreUsed(t *testing.T) {
	waitingBubble(t, 5, func(w *waiting) {
		for i := range w.nodes {
			w.hold(i)
		}
		w.mustWait()
		now := time.Now()
		w.nodes[0].announce(500, now.Add(-4*time.Second))
		w.nodes[1].announce(500, now.Add(-3*time.Second))
		w.wantWakes()
		w.nodes[2].wakers[w.nodes[2].latest].Woken(lease.Grant{}) // a hint without a grant
		w.wantWakes(lease.Grant{})

		w.mustWait()
		w.nodes[0].announce(500, now.Add(-4*time.Second))
		w.nodes[3].announce(600, now.Add(-time.Second))
		w.nodes[4].announce(400, now.Add(-2*time.Second))
		w.wantWakes(lease.Grant{Fence: 600, TokenCount: 1, Since: now.Add(-4 * time.Second)})
	})
}

func TestGrantsWithoutACommonTokenAreNone(t *testing.T) {
	waitingBubble(t, 3, func(w *waiting) {
		for i := range w.nodes {
			w.hold(i)
		}
		w.mustWait()
		w.nodes[0].announce(500, time.Now())
		w.nodes[1].announce(1500, time.Now()) // the first node may mint it again
		w.wantWakes(lease.Grant{})
	})
}

// The announcement is of what the owner has given back: the third node granted it in a vote
// that was lost.
func TestGrantThatWasGivenBackIsNone(t *testing.T) {
	waitingBubble(t, 3, func(w *waiting) {
		w.split(w.owner)
		w.mustWait()
		if n := w.holders(w.owner); n != 0 {
			w.Fatalf("the owner still has %d nodes", n)
		}
		if w.nodes[2].announce(500, time.Now()) {
			w.Error("the old grant is counted on")
		}
		w.nodes[1].announce(500, time.Now())
		w.nodes[0].announce(500, time.Now())
		w.wantWakes(lease.Grant{Fence: 500, TokenCount: 1, Since: time.Now()})

		late := w.nodes[2].wakers[w.nodes[2].latest]
		w.hold(2)
		w.mustWait() // it watches another id now
		if late.Woken(lease.Grant{Fence: 500, TokenCount: 1000, Since: time.Now()}) {
			w.Error("the old grant is counted on after the next vote")
		}
		w.nodes[1].announce(500, time.Now())
		w.wantWakes()
		w.nodes[2].announce(500, time.Now())
		w.wantWakes(lease.Grant{Fence: 500, TokenCount: 1, Since: time.Now()})
	})
}

// A vote that goes on may give back what is announced.
func TestGrantsDuringAVoteAreNone(t *testing.T) {
	waitingBubble(t, 3, func(w *waiting) {
		for i := range w.nodes {
			w.hold(i)
		}
		w.mustWait()
		for _, n := range w.nodes {
			n.Delay(100 * time.Millisecond)
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			w.mustWait()
		}()
		time.Sleep(50 * time.Millisecond)
		w.nodes[0].announce(500, time.Now())
		w.nodes[1].announce(500, time.Now())
		w.wantWakes(lease.Grant{})
		<-done

		// One node answers when the vote is over: its part is on the way back, if it has one.
		w.nodes[0].Delay(300 * time.Millisecond)
		w.mustWait()
		w.nodes[0].announce(500, time.Now())
		w.nodes[1].announce(500, time.Now())
		w.wantWakes(lease.Grant{})
	})
}

// All that count have answered, and two slow nodes have a little more time to.
func TestGrantsWhileAVoteWaitsForSlowNodesAreNone(t *testing.T) {
	waitingBubble(t, 5, func(w *waiting) {
		for i, n := range w.nodes {
			w.hold(i)
			n.Delay([]time.Duration{10 * time.Millisecond, 100 * time.Millisecond}[i/3])
		}
		time.AfterFunc(12*time.Millisecond, func() {
			for _, n := range w.nodes[:3] {
				n.announce(500, time.Now())
			}
		})
		w.mustWait()
		w.wantWakes(lease.Grant{})
	})
}

// In a split vote the owner of the lowest rank keeps its part, and the others give theirs
// back. Where a majority names one holder, each keeps its own.
func TestPartsOfALostVoteAreKeptIfTheyHelp(t *testing.T) {
	for name, test := range map[string]struct {
		join, one bool          // the owner waits; the other nodes have one holder
		ttl       time.Duration // 0: short enough
		lower     bool          // that holder has the lower rank
		kept      int
	}{
		"split, lower rank than the others":  {join: true, kept: 1},
		"split, higher rank than the others": {join: true, lower: true},
		"a majority holds the key":           {join: true, one: true, lower: true, kept: 1},
		"an owner that does not wait":        {one: true},
		"a TTL of a minute":                  {join: true, one: true, ttl: time.Minute, kept: 1},
		"a longer TTL":                       {join: true, one: true, ttl: time.Minute + time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			waitingBubble(t, 3, func(w *waiting) {
				var other string
				for i := 1; i < 3; {
					if o := w.s.NewOwner(""); (rank(o) < rank(w.owner)) == test.lower {
						if other == "" || !test.one {
							other = o
						}
						w.nodes[i].Hold(key, w.s.idOn(i, 0, other))
						i++
					}
				}
				a := timeout(time.Second)
				defer a.End()
				r := request(w.owner)
				r.Join = test.join
				if test.ttl > 0 {
					r.TTL = test.ttl
				}
				if reply, err := w.s.Acquire(a, r); err != nil || reply.Granted {
					t.Fatalf("Acquire() = %+v, %v; want refused", reply, err)
				}
				if n := w.holders(w.owner); n != test.kept {
					t.Errorf("the owner has %d nodes, want %d", n, test.kept)
				}
				w.nodes[1].announce(500, time.Now())
				w.wantWakes(make([]lease.Grant, test.kept)...) // with the kept part that is a majority
			})
		})
	}
}

// The node announces the grant, and answers then that the owner has to wait: the grant has
// lapsed, or was lost.
func TestGrantThatTheNodeRefusesAfterwardsIsNone(t *testing.T) {
	waitingBubble(t, 3, func(w *waiting) {
		for i, n := range w.nodes {
			w.hold(i)
			n.Delay(10 * time.Millisecond)
		}
		time.AfterFunc(9*time.Millisecond, func() { w.nodes[0].announce(500, time.Now()) })
		w.mustWait()
		w.nodes[1].announce(500, time.Now())
		w.wantWakes(lease.Grant{})
	})
}

func TestGrantAfterTheReleaseIsNotCountedOn(t *testing.T) {
	waitingBubble(t, 3, func(w *waiting) {
		for i := range w.nodes {
			w.hold(i)
		}
		w.mustWait()
		if _, err := w.release(w.owner); err != nil {
			t.Fatal(err)
		}
		for _, n := range w.nodes {
			if n.announce(500, time.Now()) {
				t.Error("a grant after the release is counted on")
			}
		}
		w.wantWakes()
	})
}

// What is under way at a node may end, with another id, when the vote has begun.
func TestNodeIsWatchedByTheIDThatItIsAskedWith(t *testing.T) {
	waitingBubble(t, 3, func(w *waiting) {
		for i := range w.nodes {
			w.hold(i)
		}
		w.mustWait()
		newID := func(i int) {
			w.s.mu.Lock()
			defer w.s.mu.Unlock()
			p := &w.s.owners[w.owner].parts[i]
			p.epoch++
			p.id = ""
		}
		newID(2)
		w.nodes[2].onWatch = func() {
			w.nodes[2].onWatch = nil
			newID(0) // its watch was looked at before
		}
		w.mustWait()
		if id := w.s.presentID(0, w.owner); w.nodes[0].latest != id {
			t.Errorf("watched by the id %q, asked with %q", w.nodes[0].latest, id)
		}
	})
}

// takerNode is a node that gives back what is announced to owners without a watch.
type takerNode struct {
	*announcer
	taken []string
}

func (n *takerNode) Taken(id string) { n.taken = append(n.taken, id) }

func TestNodesAreToldThatTheOwnerCountsOnItsGrantsWhenItsWatchEnds(t *testing.T) {
	bubble(t, 3, func(t *testing.T, _ *bench) {
		var nodes [3]*takerNode
		var stores []lease.Store
		for i := range nodes {
			nodes[i] = &takerNode{announcer: &announcer{Store: guardtest.NewStore(), wakers: make(map[string]lease.Waker)}}
			stores = append(stores, nodes[i])
		}
		s := mustNew(t, stores...)
		owner := s.NewOwner("")
		s.Watch(owner, lease.WakeFunc(func(lease.Grant) bool { return false }))
		s.Unwatch(owner)
		for i, n := range nodes {
			if len(n.taken) != 1 || n.taken[0] != s.idOn(i, 0, owner) || len(n.wakers) != 0 {
				t.Errorf("node %d was told of %v, and watches %d", i, n.taken, len(n.wakers))
			}
		}
	})
}

// Nobody is named who could make use of it, or have a lower rank.
func TestPartIsGivenBackIfTheOtherNodesDoNotAnswer(t *testing.T) {
	waitingBubble(t, 3, func(w *waiting) {
		w.nodes[1].Fail(errDown)
		w.nodes[2].Fail(errDown)
		if reply, err := w.acquire(w.s, w.owner); err == nil {
			t.Errorf("Acquire() = %+v, want an error", reply)
		}
		if n := w.holders(w.owner); n != 0 {
			t.Errorf("the owner has %d nodes", n)
		}
	})
}
