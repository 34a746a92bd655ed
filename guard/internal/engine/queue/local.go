package queue

import (
	"slices"
	"time"

	"github.com/jobguard/jobguard/guard/internal/engine/keep"
	"github.com/jobguard/jobguard/guard/lease"
)

// local is the queue of one key in this process, with the candidate that stands
// for it in the store's queue and the lease under which the process holds the
// key. It exists while the key is waited for or held here, and is guarded by the
// Keeper's mutex.
//
// Callers that share a key do not keep each other waiting, so each has a queue of
// its own, which no other call finds, and a place of its own in the store's.
type local struct {
	e   *Engine
	key string

	waiters   []*waiter   // in order of arrival; the first is served next
	candidate *candidate  // nil if none is in the store's queue
	lease     *keep.Lease // the live one: trusted, or just being released
	aging     *time.Timer // fires when lease is old enough for a candidate; nil until one waited
	calls     int         // store calls made since the queue exists

	first     keep.Lease // the memory of the first lease: mostly there is no other
	firstUsed bool
}

// localLocked returns the local queue of key, making it if need be.
func (e *Engine) localLocked(key string, limit lease.Limit) *local {
	if limit != lease.Exclusive {
		return &local{e: e, key: key}
	}
	l := e.queues[key]
	if l == nil {
		l = &local{e: e, key: key}
		e.queues[key] = l
	}
	return l
}

// dropLocked forgets a queue that is not needed any more.
func (l *local) dropLocked() {
	if len(l.waiters) == 0 && l.candidate == nil && l.lease == nil && l.e.queues[l.key] == l {
		delete(l.e.queues, l.key)
	}
}

// joinLocked appends w. A caller that only tries is refused if the key is held
// here, or if others here have just found it held or the store failing: trying
// once more could only overtake them.
func (l *local) joinLocked(w *waiter) *Failure {
	w.calls = l.calls
	switch {
	case l.lease != nil:
		w.sawLocked(l.lease.Owner())
	case l.candidate != nil && l.candidate.heard:
		w.sawLocked(l.candidate.holder)
	}
	if w.opt.Wait == 0 && (l.lease != nil || len(l.waiters) > 0 && l.candidate.knowsObstacle()) {
		return l.obstacleLocked(w)
	}
	l.waiters = append(l.waiters, w)
	return nil
}

// leaveLocked takes w out and says what stood in its way; nil if it was answered.
func (l *local) leaveLocked(w *waiter) *Failure {
	i := slices.Index(l.waiters, w)
	if i < 0 {
		return nil
	}
	l.waiters = slices.Delete(l.waiters, i, i+1)
	if len(l.waiters) == 0 && l.candidate != nil {
		l.candidate.breakOffLocked()
	}
	return l.obstacleLocked(w)
}

// serveLocked gives h to the first waiter, and takes it out.
func (l *local) serveLocked(h *keep.Hold) {
	w := l.waiters[0]
	l.waiters = slices.Delete(l.waiters, 0, 1)
	w.answerLocked(h, nil)
}

// grantedLocked begins a lease in place of the candidate and serves the first
// waiter. renewal is when to renew first.
func (l *local) grantedLocked(granted *keep.Lease, renewal time.Time) {
	l.candidate = nil
	l.lease = granted
	l.serveLocked(granted.BeginLocked(l.calls-l.waiters[0].calls, renewal))
	for _, next := range l.waiters {
		next.sawLocked(granted.Owner())
	}
	l.refuseTriesLocked()
}

// HandOver implements [keep.Next]: it gives the key to the next waiter without
// asking the store. The lease must be young, so that other processes get their
// turn.
func (l *local) HandOver(held *keep.Lease) bool {
	now := time.Now()
	if len(l.waiters) == 0 || held.Age(now) >= handoffMax || !held.HandsOverLocked(l.waiters[0].opt.Terms, now) {
		return false
	}
	l.serveLocked(held.NewHoldLocked(l.calls - l.waiters[0].calls))
	return true
}

// OnFree implements [keep.Next].
func (l *local) OnFree(held *keep.Lease) {
	if l.lease != held {
		return
	}
	l.lease = nil
	if l.aging != nil {
		l.aging.Stop()
		l.aging = nil
	}
	l.kickLocked()
}

// needsCandidateLocked reports whether it is time for a candidate: callers wait,
// none is in the store's queue, and the key cannot be handed over here any more.
// Until then a place in that queue would mostly be of no use; from then on it
// counts, against those of other processes.
func (l *local) needsCandidateLocked() bool {
	if len(l.waiters) == 0 || l.candidate != nil {
		return false
	}
	if l.lease == nil {
		return true
	}
	left := handoffMax - l.lease.Age(time.Now())
	if left > 0 && l.aging == nil {
		l.aging = time.AfterFunc(left, l.kick)
	}
	return left <= 0 && !l.lease.EndedLocked()
}

func (l *local) kick() {
	l.e.keeper.Lock()
	defer l.e.keeper.Unlock()
	l.kickLocked()
}

// kickLocked starts a candidate if it is time for one.
func (l *local) kickLocked() {
	if !l.needsCandidateLocked() {
		l.dropLocked()
		return
	}
	l.startLocked(new(candidate)).spawnLocked(0)
}

// obstacleLocked says what stood in w's way, as far as it is known: a holder,
// or a store that fails, or that has not answered yet.
func (l *local) obstacleLocked(w *waiter) *Failure {
	f := &Failure{Kind: Busy, Attempts: l.calls - w.calls}
	switch c := l.candidate; {
	case l.lease != nil:
		f.Holder = l.lease.Owner()
		f.RetryAfter = l.lease.Remaining(time.Now())
	case c != nil && c.err != nil:
		f.Kind, f.Err = Unavailable, c.err
	case c != nil && c.heard:
		f.Holder = c.holder
		f.RetryAfter = max(0, time.Until(c.expires))
	default:
		f.Kind, f.Err = Unavailable, errNoAnswer
	}
	return f
}

// refuseTriesLocked answers the callers that only try, now that the key is known
// to be held.
func (l *local) refuseTriesLocked() {
	l.waiters = slices.DeleteFunc(l.waiters, func(w *waiter) bool {
		if w.opt.Wait != 0 {
			return false
		}
		w.answerLocked(nil, l.obstacleLocked(w))
		return true
	})
}

// newLease prepares a lease for l, in the memory of the first if that is unused.
func (l *local) newLease(g keep.Grant, terms keep.Terms) *keep.Lease {
	n := &l.first
	if l.firstUsed {
		n = new(keep.Lease)
	}
	l.firstUsed = true
	n.Init(l.e.keeper, g, terms, l)
	return n
}
