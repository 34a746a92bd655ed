package journal_test

import (
	"context"
	"sync"

	"github.com/jobguard/jobguard/guard/journal"
)

// events is an Observer that keeps what it hears.
type events struct {
	mu  sync.Mutex
	all []journal.Event
}

func (e *events) Happened(_ context.Context, ev journal.Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.all = append(e.all, ev)
}

// last returns the last event of a kind, nil if there is none.
func (e *events) last(kind journal.EventKind) *journal.Event {
	e.mu.Lock()
	defer e.mu.Unlock()
	for i := len(e.all) - 1; i >= 0; i-- {
		if e.all[i].Kind == kind {
			found := e.all[i]
			return &found
		}
	}
	return nil
}

func (e *events) count(kind journal.EventKind) (n int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, ev := range e.all {
		if ev.Kind == kind {
			n++
		}
	}
	return n
}
