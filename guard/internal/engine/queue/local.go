package queue

import (
	"time"

	"github.com/jobguard/jobguard/guard/internal/engine/keep"
	"github.com/jobguard/jobguard/guard/lease"
)

// handoffMax bounds how long local callers may pass a lease among themselves
// before the other processes in the queue get their turn.
const handoffMax = 10 * time.Millisecond

// handoffTokens is how many tokens a lease with local waiters asks for: one for
// each microsecond of handoffMax, which is as far as the store lets tokens run
// ahead of its clock.
const handoffTokens = int(handoffMax / time.Microsecond)

// local is the queue of one key and limit in this process, with the candidate that
// stands for it in the store's queue and the leases under which the process holds the
// key. It exists while the key is waited for or held here, and is guarded by the
// Keeper's mutex. What is done for each waiter costs the same however many there are.
//
// Exclusive callers have one lease at a time. Callers that share a key have one each,
// and do not keep each other waiting: while the store has refused none of them, each
// tries for itself; see trial.
type local struct {
	*line              // Engine.nobody while there is none
	lease  *keep.Lease // the live one, if exclusive: trusted, or just being released
	shared int32       // how many leases are live, if not
	limit  int32       // a [lease.Limit]
	first  keep.Lease  // the memory of the first, mostly the only one; it has the key
}

// line is who waits for a key here, and what they have to know. Most keys that are held
// have none.
type line struct {
	e         *Engine
	waiters   waiters
	candidate *candidate  // nil if none is in the store's queue
	trials    int32       // under way
	aging     *time.Timer // fires when the lease is old enough for a candidate; nil: is not to fire
	calls     int32       // store calls made since the line exists

	// How often the key was seen held, and by which owner the last time; nil if
	// that is not known.
	sightings int32
	holder    *string
}

// waiter is one Acquire. Everything but opt and since is guarded by the
// Keeper's mutex.
type waiter struct {
	opt       Options
	since     time.Time
	calls     int32 // local.calls at that time
	sightings int32 // local.sightings at that time
	seen      Contention

	next, previous *waiter // in the waiters of local
	listed         bool

	// One of the two is set, once, when the waiter is answered, and answered is
	// closed. Most are answered before they have to wait: they need no channel.
	hold     *keep.Hold
	fail     *Failure
	answered chan struct{}

	turn int64 // among those that replace each other; 0 before its first question

	candidate candidate     // that it started, if it did: mostly it ends with the waiter
	line      line          // the same
	attempt   lease.Attempt // its own first
}

// waiters is a list in order of arrival; the first is served next.
type waiters struct {
	first, last *waiter
	n, tries    int32 // all, and those that do not wait
	replacing   int32 // 1 if one of them is to replace the holder
}

func (ws *waiters) push(w *waiter) {
	w.previous, w.listed = ws.last, true
	if ws.last == nil {
		ws.first = w
	} else {
		ws.last.next = w
	}
	ws.last = w
	ws.count(w, 1)
}

func (ws *waiters) remove(w *waiter) {
	if w.previous == nil {
		ws.first = w.next
	} else {
		w.previous.next = w.next
	}
	if w.next == nil {
		ws.last = w.previous
	} else {
		w.next.previous = w.previous
	}
	w.next, w.previous, w.listed = nil, nil, false
	ws.count(w, -1)
}

func (ws *waiters) count(w *waiter, n int32) {
	ws.n += n
	if w.opt.Wait == 0 {
		ws.tries += n
	}
	if w.opt.Replace {
		ws.replacing += n
	}
}

// each calls f for each waiter; f may remove it.
func (ws *waiters) each(f func(*waiter)) {
	for w := ws.first; w != nil; {
		next := w.next
		f(w)
		w = next
	}
}

func (l *local) keeper() *keep.Keeper { return l.first.Keeper() }

func (l *local) key() string { return l.first.Key() }

func (l *local) exclusive() bool { return l.limit == int32(lease.Exclusive) }

// localLocked returns the local queue of key, making it if need be, with a line in which
// w can wait.
func (e *Engine) localLocked(key string, w *waiter) *local {
	limit := w.opt.Limit
	l := e.queues[key]
	if limit != lease.Exclusive {
		l = e.shared[sharedKey{key, limit}]
	}
	if l == nil {
		l = &local{limit: int32(limit), line: &e.nobody} //nolint:gosec // package guard accepts no other
		l.first.Init(e.keeper, key, l)
		if limit == lease.Exclusive {
			e.queues[key] = l
		} else {
			e.shared[sharedKey{key, limit}] = l
		}
	}
	if l.line == &e.nobody {
		l.line = &w.line
		l.e = e
	}
	return l
}

// dropLocked forgets the line, and the queue, if they are not needed any more. It is called
// when the lease, the candidate, a trial or aging has ended: a waiter leaves one of them.
func (l *local) dropLocked() {
	if l.waiters.n > 0 || l.candidate != nil || l.trials > 0 || l.aging != nil {
		return
	}
	l.line = &l.e.nobody
	switch {
	case l.lease != nil, l.shared > 0:
	case !l.exclusive():
		delete(l.e.shared, sharedKey{l.key(), lease.Limit(l.limit)})
	case l.e.queues[l.key()] == l:
		delete(l.e.queues, l.key())
	}
}

// joinLocked appends w. A caller that only tries is refused if the key is held
// here, or if others here have just found it held or the store failing: trying
// once more could only overtake them. A lease that is just being released is no
// reason: its release tells.
func (l *local) joinLocked(w *waiter) *Failure {
	w.calls, w.sightings = l.calls, l.sightings
	switch {
	case l.lease != nil:
		w.seen = Contention{Held: true, Holder: l.lease.Owner()}
	case l.candidate != nil && l.candidate.heard:
		w.seen = Contention{Held: true, Holder: l.candidate.holder}
	}
	if w.opt.Wait == 0 && (l.lease != nil && !l.lease.EndedLocked() || l.waiters.n > 0 && l.candidate.knowsObstacle()) {
		f := l.obstacleLocked(w)
		l.dropLocked()
		return f
	}
	l.waiters.push(w)
	return nil
}

// seenLocked notes that owner, "" if unknown, has the key.
func (l *local) seenLocked(owner string) {
	l.sightings++
	if owner != "" && (l.holder == nil || *l.holder != owner) {
		holder := owner // only then on the heap
		l.holder = &holder
	}
}

// answerLocked takes w out with h or f.
func (l *local) answerLocked(w *waiter, h *keep.Hold, f *Failure) {
	l.removeLocked(w)
	w.hold, w.fail = h, f
	if w.answered != nil {
		close(w.answered)
	}
}

// removeLocked takes w out, with what was seen meanwhile.
func (l *local) removeLocked(w *waiter) {
	l.waiters.remove(w)
	w.seen.Attempts = int(l.calls - w.calls)
	if l.sightings > w.sightings {
		w.seen.Held = true
		if l.holder != nil {
			w.seen.Holder = *l.holder
		}
	}
}

// leaveLocked takes w out and says what stood in its way; nil if it was answered.
func (l *local) leaveLocked(w *waiter) *Failure {
	if !w.listed {
		return nil
	}
	l.removeLocked(w)
	l.breakOffLocked()
	return l.obstacleLocked(w)
}

// breakOffLocked ends a candidate that no waiter needs any more.
func (l *local) breakOffLocked() {
	if l.waiters.n == 0 && l.candidate != nil {
		l.candidate.breakOffLocked()
	}
}

// grantedLocked begins a lease, in place of the candidate that got it, and serves the
// first waiter. renewal is when to renew first.
func (l *local) grantedLocked(granted *keep.Lease, renewal time.Time) {
	if l.exclusive() {
		l.stopAgingLocked() // of a lease whose release is not answered yet
		l.lease = granted
	} else {
		l.shared++
	}
	l.answerLocked(l.waiters.first, granted.BeginLocked(renewal), nil)
	if l.exclusive() && l.waiters.n > 0 {
		l.seenLocked(granted.Owner())
		l.refuseTriesLocked()
	}
	l.kickLocked()
}

// HandOver implements [keep.Next]: it gives the key to the next waiter without
// asking the store. The lease must be young, so that other processes get their
// turn.
func (l *local) HandOver(held *keep.Lease) bool {
	w, now := l.waiters.first, time.Now()
	if w == nil || w.opt.Replace || held.Age(now) >= handoffMax || !held.HandsOverLocked(w.opt.Terms, now) {
		return false
	}
	l.answerLocked(w, held.NewHoldLocked(now), nil)
	l.breakOffLocked()
	return true
}

// OnFree implements [keep.Next].
func (l *local) OnFree(held *keep.Lease) {
	switch {
	case !l.exclusive():
		l.shared--
	case l.lease != held:
		return
	default:
		l.lease = nil
		l.stopAgingLocked()
	}
	l.kickLocked()
}

func (l *local) stopAgingLocked() {
	if l.aging != nil {
		l.aging.Stop()
		l.aging = nil
	}
}

// needsCandidateLocked reports whether it is time for a candidate: callers wait,
// none is in the store's queue, and the key cannot be handed over here any more.
// Until then a place in that queue would mostly be of no use; from then on it
// counts, against those of other processes.
func (l *local) needsCandidateLocked() bool {
	if l.waiters.n <= l.trials || l.candidate != nil {
		return false
	}
	if l.lease == nil {
		return true
	}
	left := handoffMax - l.lease.Age(time.Now())
	if left > 0 && l.aging == nil {
		l.aging = time.AfterFunc(left, l.aged)
	}
	return left <= 0 && !l.lease.EndedLocked()
}

// aged runs on aging's goroutine.
func (l *local) aged() {
	l.keeper().Lock()
	defer l.keeper().Unlock()
	l.stopAgingLocked()
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
	f := &Failure{Kind: Busy}
	switch c := l.candidate; {
	case l.lease != nil:
		f.Holder, f.Here = l.lease.Owner(), true
		f.RetryAfter = l.lease.Remaining(time.Now())
	case c != nil && c.err != nil:
		f.Kind, f.Err = Unavailable, c.err
	case c != nil && c.heard:
		f.Holder = c.holder
		f.Here = f.Holder != "" && lease.OwnerProcess(f.Holder) == lease.OwnerProcess(c.owner)
		f.RetryAfter = max(0, time.Until(c.expires))
	case w.seen.Held: // a moment ago: the store is being asked who is next
		f.Holder = w.seen.Holder
	default:
		f.Kind, f.Err = Unavailable, errNoAnswer
	}
	return f
}

// refuseTriesLocked answers the callers that only try, now that the key is known
// to be held.
func (l *local) refuseTriesLocked() {
	if l.waiters.tries == 0 {
		return
	}
	l.waiters.each(func(w *waiter) {
		if w.opt.Wait == 0 {
			l.answerLocked(w, nil, l.obstacleLocked(w))
		}
	})
}

// newLeaseLocked prepares a lease for l, in the memory of the first if that is unused.
func (l *local) newLeaseLocked(g keep.Grant, terms *keep.Terms) *keep.Lease {
	n := &l.first
	if n.Used() {
		n = new(keep.Lease)
		n.Init(l.keeper(), l.key(), l)
	}
	n.BecomeLocked(g, terms)
	return n
}
