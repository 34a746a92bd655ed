package lease

import (
	"context"
	"sync"
	"time"
)

// Attempt is the context of a store call that ends at its deadline and is never
// cancelled before. A Store may then do its I/O on the calling goroutine, bounded by
// the deadline alone.
//
// It is cheaper than context.WithDeadline: the timer is made by the first Done.
type Attempt struct {
	deadline time.Time

	mu     sync.Mutex
	timed  context.Context // made by the first Done
	cancel context.CancelFunc
}

// NewAttempt returns an Attempt that ends at deadline. Call End when the call
// has returned.
func NewAttempt(deadline time.Time) *Attempt { return &Attempt{deadline: deadline} }

// End releases the Attempt's timer.
func (a *Attempt) End() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.cancel != nil {
		a.cancel()
	}
}

// Deadline implements context.Context.
func (a *Attempt) Deadline() (time.Time, bool) { return a.deadline, true }

// Done implements context.Context.
func (a *Attempt) Done() <-chan struct{} {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.timed == nil {
		a.timed, a.cancel = context.WithDeadline(context.Background(), a.deadline)
	}
	return a.timed.Done()
}

// Err implements context.Context.
func (a *Attempt) Err() error {
	if time.Now().Before(a.deadline) {
		return nil
	}
	return context.DeadlineExceeded
}

// Value implements context.Context. It returns nil.
func (a *Attempt) Value(any) any { return nil }
