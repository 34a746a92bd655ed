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

// entry is a lease's place in a timetable.
type entry struct {
	l     *Lease
	index int // in the heap, plus 1; 0: not there
}

// slot is an entry and its time. Of very many leases hardly one is in the processor's
// cache: what orders them is beside them in the heap.
type slot struct {
	at int64 // ns since base
	*entry
}

// add puts x into the timetable, for l at that time.
func (tt *timetable) add(x *entry, l *Lease, at time.Time) {
	x.l = l
	tt.entries = append(tt.entries, slot{int64(at.Sub(tt.base)), x}) // heap.Push would allocate
	x.index = len(tt.entries)
	heap.Fix(&tt.entries, x.index-1)
}

func (tt *timetable) remove(x *entry) {
	if x.index > 0 {
		heap.Remove(&tt.entries, x.index-1)
	}
}

// first returns the lease of the earliest entry, nil if there is none.
func (tt *timetable) first() *Lease {
	if len(tt.entries) == 0 {
		return nil
	}
	return tt.entries[0].l
}

// takeUntil removes the first entry and returns its lease, unless it is later than that.
func (tt *timetable) takeUntil(at time.Time) *Lease {
	if len(tt.entries) == 0 || tt.entries[0].at > int64(at.Sub(tt.base)) {
		return nil
	}
	l := tt.entries[0].l
	heap.Remove(&tt.entries, 0)
	return l
}

// arm sets the timer for the first entry, unless it fires soon enough as it is:
// one that fires for nothing costs less than resetting it for every short lease.
func (tt *timetable) arm() {
	if len(tt.entries) == 0 {
		return
	}
	at := tt.entries[0].at
	if tt.armed != 0 && tt.armed <= at {
		return
	}
	tt.armed = max(at, 1)
	d := max(0, time.Duration(at)-time.Since(tt.base))
	if tt.timer == nil {
		tt.timer = time.AfterFunc(d, tt.call)
		return
	}
	tt.timer.Reset(d)
}

// fired notes that the timer did; the next arm sets it anew.
func (tt *timetable) fired() { tt.armed = 0 }

// entryHeap implements heap.Interface.
type entryHeap []slot

func (h entryHeap) Len() int           { return len(h) }
func (h entryHeap) Less(i, j int) bool { return h[i].at < h[j].at }

func (h entryHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i+1, j+1
}

func (h *entryHeap) Push(x any) { *h = append(*h, x.(slot)) } //nolint:forcetypeassert // see add

func (h *entryHeap) Pop() any {
	old := *h
	x := old[len(old)-1].entry
	old[len(old)-1] = slot{}
	*h = old[:len(old)-1]
	x.index = 0
	return x
}
