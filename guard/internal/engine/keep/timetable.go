package keep

import (
	"container/heap"
	"time"
)

// timetable calls back when the first of its entries is due: one timer for any
// number of leases. Guarded by Keeper.mu.
type timetable struct {
	base    time.Time
	call    func() // on a goroutine of its own, without the mutex
	entries entryHeap
	timer   *time.Timer
	armed   int64 // when the timer fires, ns since base; 0: it is not set
}

// entry is when a timetable calls back for a lease.
type entry struct {
	l     *Lease
	at    int64 // ns since base
	index int   // in the heap, plus 1; 0: not there
}

// add puts x into the timetable, for l at that time.
func (tt *timetable) add(x *entry, l *Lease, at time.Time) {
	x.l, x.at = l, int64(at.Sub(tt.base))
	heap.Push(&tt.entries, x)
}

func (tt *timetable) remove(x *entry) {
	if x.index > 0 {
		heap.Remove(&tt.entries, x.index-1)
	}
}

// first returns the earliest entry, nil if there is none.
func (tt *timetable) first() *entry {
	if len(tt.entries) == 0 {
		return nil
	}
	return tt.entries[0]
}

// takeUntil removes the first entry and returns it, unless it is later than that.
func (tt *timetable) takeUntil(at time.Time) *entry {
	x := tt.first()
	if x == nil || x.at > int64(at.Sub(tt.base)) {
		return nil
	}
	tt.remove(x)
	return x
}

// arm sets the timer for the first entry, unless it fires soon enough as it is:
// one that fires for nothing costs less than resetting it for every short lease.
func (tt *timetable) arm() {
	x := tt.first()
	if x == nil || tt.armed != 0 && tt.armed <= x.at {
		return
	}
	tt.armed = max(x.at, 1)
	d := max(0, time.Duration(x.at)-time.Since(tt.base))
	if tt.timer == nil {
		tt.timer = time.AfterFunc(d, tt.call)
		return
	}
	tt.timer.Reset(d)
}

// fired notes that the timer did; the next arm sets it anew.
func (tt *timetable) fired() { tt.armed = 0 }

// entryHeap implements heap.Interface.
type entryHeap []*entry

func (h entryHeap) Len() int           { return len(h) }
func (h entryHeap) Less(i, j int) bool { return h[i].at < h[j].at }

func (h entryHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i+1, j+1
}

func (h *entryHeap) Push(x any) {
	e := x.(*entry) //nolint:forcetypeassert // only add pushes
	*h = append(*h, e)
	e.index = len(*h)
}

func (h *entryHeap) Pop() any {
	old := *h
	x := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	x.index = 0
	return x
}
