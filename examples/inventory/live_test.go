package main

import (
	"slices"
	"testing"
	"time"

	"github.com/jobguard/jobguard/guard/lease"
)

func TestOverlapIsTwoSalesOfOneSKUAtOnce(t *testing.T) {
	spans := []*span{
		{SKU: "a", From: 10, To: 20},
		{SKU: "b", From: 12, To: 14}, // another SKU
		{SKU: "a", From: 20, To: 30}, // one after the other
		{SKU: "a", From: 25, To: 27}, // inside
		{SKU: "a", From: 28},         // open, over the end of the third
		{SKU: "a", From: 35, To: 36}, // while that is open
	}
	want := []overlap{{"a", 25, 27}, {"a", 28, 30}, {"a", 35, 36}}
	if got := overlaps(spans, 40); !slices.Equal(got, want) {
		t.Errorf("overlaps: %v, want %v", got, want)
	}
}

func TestLeaseOfAStalledReplicaEndsWithItsTime(t *testing.T) {
	l := lanes{open: map[laneKey]*span{}}
	l.enter(0, message{SKU: "a", Token: 7, Run: 1, At: 1000})
	l.renew(0, message{SKU: "a", Token: 7, At: 1500})
	l.age(3000)
	if s := l.spans[0]; s.To != 0 {
		t.Errorf("renewed, and ended at %d", s.To)
	}
	l.enter(1, message{SKU: "a", Token: 8, Run: 1, At: 3490}) // the renewal reached the server before we heard of it
	if s := l.spans[0]; s.To != 3490 {
		t.Errorf("ended at %d, want with the next grant", s.To)
	}
	l.leave(0, message{Run: 1, At: 9000})
	if s := l.spans[0]; s.To != 3490 {
		t.Errorf("ended at %d: the late end of the run is not the lease's", s.To)
	}
	if found := overlaps(l.spans, 3600); len(found) != 0 {
		t.Errorf("overlaps: %v", found)
	}
}

// The lease began before its sale was told of, on a busy machine long before. A run that goes on
// would be red then, one that is dead is not.
func TestLeaseOfADeadProcessEndsWithTheNextGrant(t *testing.T) {
	for _, dead := range []bool{true, false} {
		l := lanes{open: map[laneKey]*span{}}
		l.enter(0, message{SKU: "a", Token: 7, Run: 1, At: 1000})
		if dead {
			l.gone(0, 1200)
		}
		next := 1000 + ttl.Milliseconds() - 300
		l.enter(1, message{SKU: "a", Token: 8, Run: 1, At: next})
		if found := overlaps(l.spans, next+100); len(found) > 0 == dead {
			t.Errorf("the first is dead: %t; overlaps: %v", dead, found)
		}
	}
}

// Were a lease granted long before the one before it ends, the page would show it.
func TestEarlyGrantIsAnOverlap(t *testing.T) {
	l := lanes{open: map[laneKey]*span{}}
	l.enter(0, message{SKU: "a", Token: 7, Run: 1, At: 1000})
	l.enter(1, message{SKU: "a", Token: 8, Run: 1, At: 2000})
	if found := overlaps(l.spans, 2500); len(found) != 1 {
		t.Errorf("overlaps: %v, want one", found)
	}
}

func TestLineIsInOrderOfArrival(t *testing.T) {
	l := inLine{}
	for _, who := range []int{2, 0, 2, 1} {
		l.join("a", who)
	}
	l.join("b", 2)
	if got, want := l.replicas("a"), []int{2, 0, 1}; !slices.Equal(got, want) {
		t.Errorf("in line: %v, want %v", got, want)
	}
	l.leave("a", 2) // its second request is the last but one now
	if got, want := l.replicas("a"), []int{0, 2, 1}; !slices.Equal(got, want) {
		t.Errorf("in line: %v, want %v", got, want)
	}
	l.leave("a", 1) // it gave up
	if got, want := l.replicas("a"), []int{0, 2}; !slices.Equal(got, want) {
		t.Errorf("in line: %v, want %v", got, want)
	}
	l.join("a", 1)
	if got, want := l.of(2), []string{"a", "b"}; !slices.Equal(got, want) {
		t.Errorf("waits for %v, want %v", got, want)
	}
	l.gone(2)
	l.leave("b", 2) // its report came late
	if got, want := l.replicas("a"), []int{0, 1}; !slices.Equal(got, want) || len(l) != 1 {
		t.Errorf("in line: %v of %v, want %v", got, l, want)
	}
}

func TestSumsOutliveTheShows(t *testing.T) {
	now := time.Now()
	h := &house{lanes: lanes{open: map[laneKey]*span{}}, shows: []*show{
		{sku: "a", guarded: true, stocked: 10, sold: 10, finished: now.Add(-time.Second)},
		{sku: "b", stocked: 10, sold: 13, finished: now.Add(-time.Second)},
		{sku: "c", stocked: 10, sold: 11, finished: now.Add(time.Second)},
		{sku: "d", guarded: true, stocked: 10, sold: 4},
		{sku: "stalled", stocked: 10, sold: 10, finished: now.Add(-time.Second)},
		{sku: "seen", stocked: 10, sold: 10, finished: now.Add(-time.Second)},
	}}
	h.lanes.enter(0, message{SKU: "seen", Run: 2, At: 1000})
	h.lanes.leave(0, message{Run: 2, At: 1100})
	h.lanes.enter(0, message{SKU: "stalled", Run: 1, At: 1000})
	with, without := h.tally(true), h.tally(false)
	h.forget(now)
	if len(h.shows) != 4 {
		t.Errorf("%d shows are kept, want 4: one is on sale, of one a sale may be late, of one a sale is stalled, one is in the timeline", len(h.shows))
	}
	if h.tally(true) != with || h.tally(false) != without || without.Oversold != 4 {
		t.Errorf("sums %+v and %+v, before %+v and %+v", h.tally(true), h.tally(false), with, without)
	}
}

// Redis is asked a few times a second, and the bar of a lease shrinks in between.
func TestTimeLeftShrinksBetweenLooks(t *testing.T) {
	now := time.Now()
	h := newHouse(options{}, nil, nil)
	s := &show{sku: "a"}
	h.holders["a"] = holding{lease.Holder{Owner: "one", Token: 7, Remaining: time.Second}, now.Add(time.Second)}
	for after, want := range map[time.Duration]int64{-time.Millisecond: 1000, 0: 1000, 33 * time.Millisecond: 967, 2 * time.Second: 0} {
		if left := h.key(s, now.Add(after)).Remains; left != want {
			t.Errorf("%v after the look %d ms are left, want %d", after, left, want)
		}
	}
}

// A replica that is stalled may hold the keys of other SKUs than that of its write.
func TestTakeoverIsOfTheWriteThatIsStalled(t *testing.T) {
	h := &house{
		clerks: []*clerk{{part: part{Name: "one"}, state: stalled, token: 7}, {part: part{Name: "two"}, state: selling}},
		lanes:  lanes{open: map[laneKey]*span{}},
	}
	h.lanes.enter(0, message{SKU: "written", Token: 7, Run: 1, At: 1000})
	h.lanes.enter(0, message{SKU: "other", Token: 8, Run: 2, At: 1000})
	if h.takeover(1, message{SKU: "other", Token: 9}); h.logged != 0 {
		t.Errorf("told of another SKU: %v", h.log)
	}
	if h.takeover(1, message{SKU: "written", Token: 10}); h.logged != 1 {
		t.Errorf("told %d times of the write's SKU, want once", h.logged)
	}
}

// Where processes cannot be stopped a stall cuts the line to Redis: what is started in
// the place of a replica that died so must reach it.
func TestReplicaThatDiesStalledLeavesItsLineMended(t *testing.T) {
	for _, c := range []struct {
		name string
		cut  bool // by the button
	}{{"stalled", false}, {"stalled and cut off", true}} {
		t.Run(c.name, func(t *testing.T) {
			h := newHouse(options{replicas: 1}, nil, nil)
			l, err := newLine("127.0.0.1:1")
			if err != nil {
				t.Fatal(err)
			}
			defer l.close()
			l.cut()
			h.clerks = []*clerk{{line: l, state: stalled, cut: c.cut}}
			if h.died(0, nil); l.down != c.cut {
				t.Errorf("the line is down: %t, want %t", l.down, c.cut)
			}
		})
	}
}

func TestReplicaThatIsAboutToStallCannotGoOnYet(t *testing.T) {
	h := newHouse(options{replicas: 1}, nil, nil)
	h.clerks = []*clerk{{state: stalling}}
	if err := h.goOn(0); err == nil || h.clerks[0].state != stalling {
		t.Errorf("goOn() = %v, and the replica is %s", err, h.clerks[0].state)
	}
}

func TestTheLastButtonOfAReplicaThatDiesCounts(t *testing.T) {
	h := newHouse(options{replicas: 1}, nil, nil)
	c := &clerk{state: ending, killed: true}
	h.clerks = []*clerk{c}
	if err := h.act(action{name: "go-on"}); err != nil || !c.again {
		t.Errorf("go on: %v; it starts again: %t", err, c.again)
	}
	if err := h.act(action{name: "kill"}); err != nil || c.again {
		t.Errorf("kill: %v; it starts again: %t", err, c.again)
	}
	if err := h.act(action{name: "kill"}); err == nil {
		t.Error("it can be killed twice")
	}
	if h.died(0, nil); c.state != dead {
		t.Errorf("it is %s", c.state)
	}
}
