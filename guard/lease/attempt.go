package lease

import (
	"context"
	"sync"
	"time"
)

// Attempt is the context of a store call that no caller's context ends. A Store may
// then do its I/O on the calling goroutine, bounded by the deadline alone, unless
// Cancelled can be closed.
//
// It is cheaper than context.WithDeadline: the timer is made by the first Done.
type Attempt struct {
	parent  context.Context
	timeout time.Duration // 0: the deadline stands

	mu       sync.Mutex
	deadline time.Time
	timed    context.Context // made by the first Done
	cancel   context.CancelFunc
}

// NewAttempt returns an Attempt that ends at deadline. Call End when the call
// has returned.
func NewAttempt(deadline time.Time) *Attempt {
	a := new(Attempt)
	a.Begin(deadline)
	return a
}

// Begin makes a, which was not used before, what NewAttempt returns.
func (a *Attempt) Begin(deadline time.Time) { a.parent, a.deadline = context.Background(), deadline }

// NewPatientAttempt returns an Attempt that gives the server timeout to answer, and ends
// with parent. Call End when the call has returned.
//
// For a Store that sends at once it is like any other: the deadline is timeout from
// now. One that lets calls wait for others before it sends them calls Sent, looks at
// Cancelled instead of Done, and ends the wait when the server has answered nothing to
// anybody for Timeout.
func NewPatientAttempt(parent context.Context, timeout time.Duration) *Attempt {
	return &Attempt{parent: parent, deadline: time.Now().Add(timeout), timeout: timeout}
}

// End releases the Attempt's timer.
func (a *Attempt) End() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.cancel != nil {
		a.cancel()
	}
}

// Timeout is how long the server may take to answer; 0 if the attempt is not patient.
func (a *Attempt) Timeout() time.Duration { return a.timeout }

// Sent moves the deadline of a patient attempt to Timeout after at, when its request
// is sent, and returns the deadline.
func (a *Attempt) Sent(at time.Time) time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.timeout > 0 {
		a.deadline = at.Add(a.timeout)
	}
	return a.deadline
}

// Cancelled is closed when the answer is of no use any more; nil if it never is.
func (a *Attempt) Cancelled() <-chan struct{} { return a.parent.Done() }

// Deadline implements context.Context.
func (a *Attempt) Deadline() (time.Time, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.deadline, true
}

// Done implements context.Context. It does not know of what Sent does later.
func (a *Attempt) Done() <-chan struct{} {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.timed == nil {
		a.timed, a.cancel = context.WithDeadline(a.parent, a.deadline)
	}
	return a.timed.Done()
}

// Err implements context.Context.
func (a *Attempt) Err() error {
	if err := a.parent.Err(); err != nil {
		return err
	}
	if deadline, _ := a.Deadline(); time.Now().Before(deadline) {
		return nil
	}
	return context.DeadlineExceeded
}

// Value implements context.Context. It returns nil.
func (a *Attempt) Value(any) any { return nil }
