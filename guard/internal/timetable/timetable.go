// Package timetable calls back when the first of many items is due: one timer for any
// number of them.
package timetable

import (
	"container/heap"
	"iter"
	"time"
)

// Timetable is a set of items, each with the time at which it is due. An item is in it
// once at most. Whoever uses it guards it, and the places of its items, by a mutex.
type Timetable[T any] struct {
	base  time.Time
	call  func()
	due   byTime[T]
	timer *time.Timer
	armed int64 // when the timer fires, ns since base; 0: it is not set
}

// Place is where in a timetable an item is; an item keeps one for each that it may be
// in. The zero value: it is not there.
type Place int32

// Planned reports whether the item is there.
func (p Place) Planned() bool { return p > 0 }

// New returns a timetable of items whose places place finds. call is called when the
// first of them is due, on a goroutine of its own and without the mutex. Times are kept
// as what has passed since base.
func New[T any](base time.Time, place func(*T) *Place, call func()) Timetable[T] {
	return Timetable[T]{base: base, call: call, due: byTime[T]{place: place}}
}

// Len counts the items.
func (tt *Timetable[T]) Len() int { return len(tt.due.slots) }

// All returns the items, in no order.
func (tt *Timetable[T]) All() iter.Seq[*T] {
	return func(yield func(*T) bool) {
		for _, s := range tt.due.slots {
			if !yield(s.item) {
				return
			}
		}
	}
}

// Add puts in an item that is not there.
func (tt *Timetable[T]) Add(item *T, at time.Time) {
	h := &tt.due
	h.slots = append(h.slots, slot[T]{int64(at.Sub(tt.base)), item}) // heap.Push would allocate
	*h.place(item) = Place(len(h.slots))                             //nolint:gosec // 2 000 000 000 items do not fit into memory
	heap.Fix(h, len(h.slots)-1)
}

// Remove takes an item out, if it is there.
func (tt *Timetable[T]) Remove(item *T) {
	if p := *tt.due.place(item); p.Planned() {
		heap.Remove(&tt.due, int(p)-1)
	}
}

// First returns the earliest item, nil if there is none.
func (tt *Timetable[T]) First() *T {
	if len(tt.due.slots) == 0 {
		return nil
	}
	return tt.due.slots[0].item
}

// TakeUntil takes out the first item and returns it, unless it is later than that.
func (tt *Timetable[T]) TakeUntil(at time.Time) *T {
	if len(tt.due.slots) == 0 || tt.due.slots[0].at > int64(at.Sub(tt.base)) {
		return nil
	}
	item := tt.due.slots[0].item
	heap.Remove(&tt.due, 0)
	return item
}

// Arm sets the timer for the first item, unless it fires soon enough as it is: one that
// fires for nothing costs less than resetting it for every item that comes and goes.
func (tt *Timetable[T]) Arm() {
	if len(tt.due.slots) == 0 {
		return
	}
	at := tt.due.slots[0].at
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

// Fired notes, in call, that the timer did; the next Arm sets it anew.
func (tt *Timetable[T]) Fired() { tt.armed = 0 }

// slot is an item and its time. Of very many items hardly one is in the processor's
// cache: what orders them is in the heap itself.
type slot[T any] struct {
	at   int64 // ns since base
	item *T
}

// byTime implements heap.Interface.
type byTime[T any] struct {
	slots []slot[T]
	place func(*T) *Place
}

func (h *byTime[T]) Len() int           { return len(h.slots) }
func (h *byTime[T]) Less(i, j int) bool { return h.slots[i].at < h.slots[j].at }

func (h *byTime[T]) Swap(i, j int) {
	h.slots[i], h.slots[j] = h.slots[j], h.slots[i]
	*h.place(h.slots[i].item), *h.place(h.slots[j].item) = Place(i+1), Place(j+1) //nolint:gosec // see Add
}

func (h *byTime[T]) Push(x any) { h.slots = append(h.slots, x.(slot[T])) } //nolint:forcetypeassert // see Add

func (h *byTime[T]) Pop() any {
	last := len(h.slots) - 1
	item := h.slots[last].item
	h.slots[last] = slot[T]{}
	h.slots = h.slots[:last]
	*h.place(item) = 0
	return item
}
