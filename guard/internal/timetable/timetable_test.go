package timetable_test

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jobguard/jobguard/guard/internal/timetable"
)

// timed is an item that knows when it is due.
type timed struct {
	place timetable.Place
	at    time.Time
}

func placeOf(x *timed) *timetable.Place { return &x.place }

func TestItemsAreTakenInTheOrderOfTheirTimesAndThoseRemovedAreNot(t *testing.T) {
	now := time.Now()
	tt := timetable.New(now, placeOf, func() {})
	r := rand.New(rand.NewPCG(1, 2))
	left := make(map[*timed]bool)
	for range 5000 {
		x := &timed{at: now.Add(time.Duration(r.IntN(1000)) * time.Second)}
		tt.Add(x, x.at)
		left[x] = true
		for gone := range left {
			if r.IntN(3) == 0 {
				tt.Remove(gone)
				tt.Remove(gone) // does nothing
				delete(left, gone)
			}
			break
		}
	}
	for x := range tt.All() {
		if !left[x] || !x.place.Planned() {
			t.Fatalf("%v is among the items", x)
		}
	}
	last := now
	for x := tt.TakeUntil(now.Add(500 * time.Second)); x != nil; x = tt.TakeUntil(now.Add(500 * time.Second)) {
		if !left[x] || x.place.Planned() || x.at.Before(last) {
			t.Fatalf("%v was taken after one of %v", x, last)
		}
		delete(left, x)
		last = x.at
	}
	for x := range left {
		if !x.at.After(now.Add(500 * time.Second)) {
			t.Fatalf("%v was not taken", x)
		}
	}
	if tt.Len() != len(left) || tt.First() == nil || tt.First().at.Before(last) {
		t.Errorf("%d items are left, want %d", tt.Len(), len(left))
	}
}

func TestCallComesWhenTheFirstItemIsDueAlsoIfItCameLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var tt timetable.Timetable[timed]
		var taken []time.Duration
		began := time.Now()
		tt = timetable.New(began, placeOf, func() {
			mu.Lock()
			defer mu.Unlock()
			tt.Fired()
			for x := tt.TakeUntil(time.Now()); x != nil; x = tt.TakeUntil(time.Now()) {
				taken = append(taken, time.Since(began))
			}
			tt.Arm()
		})
		mu.Lock()
		for _, d := range []string{"7s", "9s", "3s", "5s"} {
			after, _ := time.ParseDuration(d)
			tt.Add(&timed{}, began.Add(after))
			tt.Arm()
		}
		mu.Unlock()
		time.Sleep(time.Minute)
		mu.Lock()
		defer mu.Unlock()
		if got := fmt.Sprint(taken); got != "[3s 5s 7s 9s]" {
			t.Errorf("items were taken after %v", got)
		}
	})
}
