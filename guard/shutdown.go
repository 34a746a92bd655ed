package guard

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/jobguard/jobguard/guard/internal/engine/queue"
	"github.com/jobguard/jobguard/guard/internal/pending"
)

// family is what a Guard and all that With made of it share.
type family struct {
	engine *queue.Engine
	calls  pending.Counter // under way, from before they acquire until they have released

	closing chan struct{} // closed when Shutdown begins, under mu

	mu     sync.Mutex
	runs   run   // ring of those whose fn is running, to cancel them; this one is none
	cancel error // what they were cancelled with, and later ones are
}

func newFamily(e *queue.Engine) *family {
	f := &family{engine: e, closing: make(chan struct{})}
	f.runs.next, f.runs.previous = &f.runs, &f.runs
	return f
}

// add puts r among the running ones.
func (f *family) add(r *run) {
	f.mu.Lock()
	r.previous, r.next = &f.runs, f.runs.next
	r.previous.next, r.next.previous = r, r
	cancel := f.cancel
	if cancel == nil && r.leads() && f.isClosingLocked() {
		cancel = ErrClosed
	}
	f.mu.Unlock()
	if cancel != nil {
		r.cancel(cancel)
	}
}

func (f *family) remove(r *run) {
	f.mu.Lock()
	defer f.mu.Unlock()
	r.previous.next, r.next.previous = r.next, r.previous
	r.previous, r.next = nil, nil // a context that is kept keeps no other run
}

// runningLocked returns the runs whose fn is running.
func (f *family) runningLocked() (runs []*run) {
	for r := f.runs.next; r != &f.runs; r = r.next {
		runs = append(runs, r)
	}
	return runs
}

// tellLeaders ends the contexts of leaders, and of those about to lead: their work
// has no end of its own to wait for.
func (f *family) tellLeaders() {
	f.mu.Lock()
	if !f.isClosingLocked() {
		close(f.closing)
	}
	runs := f.runningLocked()
	f.mu.Unlock()
	for _, r := range runs {
		if r.leads() {
			r.cancel(ErrClosed)
		}
	}
}

func (f *family) isClosingLocked() bool {
	select {
	case <-f.closing:
		return true
	default:
		return false
	}
}

// leads reports whether r is a term of [Guard.Lead].
func (r *run) leads() bool { return r.op() == opLead }

// cancelRuns cancels the contexts of all runs, and of those about to begin, and
// returns how many there are.
func (f *family) cancelRuns(cause error) int {
	f.mu.Lock()
	f.cancel = cause
	runs := f.runningLocked()
	f.mu.Unlock()
	for _, r := range runs {
		r.cancel(cause)
	}
	return len(runs)
}

// Shutdown ends the work of g and every Guard that shares its New: no run
// starts any more, waiters get ErrClosed, the contexts of leaders end with cause
// ErrClosed, and Shutdown waits for the runs under way. Nested runs under a lease that is held may still start. When
// ctx ends first, the runs' contexts are cancelled with cause ErrClosed, and
// Shutdown waits for them for at most one TTL more; then it returns an error
// that wraps ctx's cause. Leases of runs that still go on are still renewed.
//
// Shutdown never closes the Redis client. Close that after it. Calling Shutdown
// again is fine. Package stop puts it in order with what else a program stops.
func (g *Guard) Shutdown(ctx context.Context) error {
	f := g.family
	f.engine.Close()
	f.tellLeaders()
	if f.calls.Wait(ctx) == 0 && ctx.Err() == nil {
		f.engine.Drain(ctx)
		return nil
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), g.opts.ttl)
	defer cancel()
	running := f.cancelRuns(ErrClosed)
	left := f.calls.Wait(last)
	f.engine.Drain(last)
	if running == 0 && left == 0 {
		return nil
	}
	return fmt.Errorf("guard: shutdown: runs that had to be cancelled: %d, calls that have not returned: %d%s: %w",
		running, left, f.keysOfRuns(), context.Cause(ctx))
}

// keysOfRuns names what is still running, of many the first, in brackets.
func (f *family) keysOfRuns() string {
	const most = 5
	f.mu.Lock()
	defer f.mu.Unlock()
	var keys []string
	for _, r := range f.runningLocked() {
		if len(keys) == most {
			keys = append(keys, "…")
			break
		}
		keys = append(keys, quoted(r.one[0].Key()))
	}
	if keys == nil {
		return ""
	}
	return " (" + strings.Join(keys, ", ") + ")"
}
