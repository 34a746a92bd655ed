package guard

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/jobguard/jobguard/guard/internal/engine"
)

// family is what a Guard and all that With made of it share.
type family struct {
	engine *engine.Engine

	mu     sync.Mutex
	active int           // calls under way, from before they acquire until they have released
	runs   runCtx        // ring of those whose fn is running, to cancel them; this one is none
	cancel error         // what they were cancelled with, and those who come late are
	none   chan struct{} // closed and cleared when active falls to 0; nil if nobody waits
}

func newFamily(e *engine.Engine) *family {
	f := &family{engine: e}
	f.runs.next, f.runs.previous = &f.runs, &f.runs
	return f
}

func (f *family) begin() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.active++
}

func (f *family) finish() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.active--
	if f.active == 0 && f.none != nil {
		close(f.none)
		f.none = nil
	}
}

func (f *family) enter(c *runCtx) {
	f.mu.Lock()
	c.previous, c.next = &f.runs, f.runs.next
	c.previous.next, c.next.previous = c, c
	cancel := f.cancel
	f.mu.Unlock()
	if cancel != nil {
		c.cancel(cancel)
	}
}

func (f *family) leave(c *runCtx) {
	f.mu.Lock()
	defer f.mu.Unlock()
	c.previous.next, c.next.previous = c.next, c.previous
	c.previous, c.next = nil, nil // whoever keeps c's context keeps no other run
}

// runningLocked returns the runs whose fn is running.
func (f *family) runningLocked() (runs []*runCtx) {
	for c := f.runs.next; c != &f.runs; c = c.next {
		runs = append(runs, c)
	}
	return runs
}

// wait returns how many calls are under way when none are left or ctx ends.
func (f *family) wait(ctx context.Context) int {
	f.mu.Lock()
	if f.active == 0 {
		f.mu.Unlock()
		return 0
	}
	if f.none == nil {
		f.none = make(chan struct{})
	}
	none := f.none
	f.mu.Unlock()
	select {
	case <-none:
		return 0
	case <-ctx.Done():
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.active
	}
}

// cancelRuns cancels the contexts of all runs, and of those about to begin, and
// returns how many there are.
func (f *family) cancelRuns(cause error) int {
	f.mu.Lock()
	f.cancel = cause
	runs := f.runningLocked()
	f.mu.Unlock()
	for _, c := range runs {
		c.cancel(cause)
	}
	return len(runs)
}

// Shutdown ends the work of g and every Guard that shares its New: no run
// starts any more, whoever waits gets ErrClosed, and Shutdown waits for the
// runs under way. Nested runs under a lease that is held may still start. When
// ctx ends first, the runs' contexts are cancelled with cause ErrClosed, and
// Shutdown waits for them for at most one TTL more; then it returns an error
// that wraps ctx's cause. Leases of runs that still go on are still renewed.
//
// Shutdown never closes the Redis client. Close that after it. Calling Shutdown
// again is fine.
func (g *Guard) Shutdown(ctx context.Context) error {
	f := g.family
	f.engine.Close()
	if f.wait(ctx) == 0 && ctx.Err() == nil {
		f.engine.Drain(ctx)
		return nil
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), g.opts.ttl)
	defer cancel()
	running := f.cancelRuns(ErrClosed)
	left := f.wait(last)
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
	for _, c := range f.runningLocked() {
		if len(keys) == most {
			keys = append(keys, "…")
			break
		}
		keys = append(keys, quoted(c.holds[0].Key()))
	}
	if keys == nil {
		return ""
	}
	return " (" + strings.Join(keys, ", ") + ")"
}
