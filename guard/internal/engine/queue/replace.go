package queue

import (
	"context"
	"time"

	"github.com/jobguard/jobguard/guard/internal/backoff"
	"github.com/jobguard/jobguard/guard/lease"
)

// A caller that replaces waits in line as any other does, and while it waits whoever holds
// the key is asked to stop. Of several such callers only the latest goes on waiting: in
// a process the one that came last, among processes the one with the highest turn, which
// the store gives. See docs/design/operate.md.

// askAgain is the pause before the holder is asked again: it may be too young to have
// heard, or the message may have been lost.
const askFirst, askLast = 100 * time.Millisecond, time.Second

// makeRoomLocked is called for a caller w that is about to join. If it replaces, and waits, those
// before it that do are answered, and the lease that the process holds is stopped; the
// function that is returned tells its run, and is to be called without the mutex.
func (l *local) makeRoomLocked(w *waiter) (ask func()) {
	if !w.opt.Replace || w.opt.Wait == 0 {
		return func() {}
	}
	if l.waiters.replacing > 0 {
		l.waiters.each(func(earlier *waiter) {
			if earlier.opt.Replace {
				l.supersedeLocked(earlier)
			}
		})
	}
	return l.askLocked()
}

// supersedeLocked answers w: a later caller took its place.
func (l *local) supersedeLocked(w *waiter) {
	f := l.obstacleLocked(w)
	f.Kind, f.Err, f.Replaced = Busy, nil, true
	l.answerLocked(w, nil, f)
}

// askLocked asks the holder in this process to stop, if there is one.
func (l *local) askLocked() func() {
	if l.lease == nil {
		return func() {}
	}
	return l.lease.StopLocked(lease.Stop{Kind: lease.Replaced})
}

// replace asks the holder to stop, if a caller waits that replaces, and returns how long
// to pause, which may be shorter then.
func (c *candidate) replace(pause time.Duration) time.Duration {
	l := c.l
	l.keeper().Lock()
	var w *waiter
	if l.waiters.replacing > 0 && c.heard && !c.relieved {
		l.waiters.each(func(other *waiter) {
			if other.opt.Replace {
				w = other
			}
		})
	}
	if w == nil {
		c.asked = 0
		l.keeper().Unlock()
		return pause
	}
	ask := l.askLocked()
	r := lease.ReplaceRequest{Key: l.key(), Owner: c.owner, Turn: w.turn}
	timeout := w.opt.acquireTimeout(0)
	c.asked++
	pause = min(pause, backoff.Pause(c.asked, askFirst, askLast))
	l.keeper().Unlock()

	ask()
	ctx, cancel := context.WithTimeout(l.keeper().Context(), timeout)
	defer cancel()
	began := time.Now()
	reply, err := c.e.stopper.Replace(ctx, r)
	pause = max(0, pause-time.Since(began))
	if err != nil {
		return pause // it is asked again
	}
	l.keeper().Lock()
	defer l.keeper().Unlock()
	switch {
	case !w.listed:
	case reply.Superseded:
		l.supersedeLocked(w)
		l.breakOffLocked()
	default:
		w.turn = reply.Turn
	}
	return pause
}
