package main

import (
	"slices"
	"testing"
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

// Were a lease granted long before the one before it ends, the page would show it.
func TestEarlyGrantIsAnOverlap(t *testing.T) {
	l := lanes{open: map[laneKey]*span{}}
	l.enter(0, message{SKU: "a", Token: 7, Run: 1, At: 1000})
	l.enter(1, message{SKU: "a", Token: 8, Run: 1, At: 2000})
	if found := overlaps(l.spans, 2500); len(found) != 1 {
		t.Errorf("overlaps: %v, want one", found)
	}
}
