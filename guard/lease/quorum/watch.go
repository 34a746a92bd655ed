package quorum

import (
	"slices"
	"sync"
	"time"

	"github.com/jobguard/jobguard/guard/lease"
)

// minHint and maxHint bound how long a hint of one node waits for those of others.
const (
	minHint = 5 * time.Millisecond
	maxHint = 100 * time.Millisecond
)

// watch is the watch of one owner. A node that grants the owner its part of the key
// gives a hint. When a majority has, the owner is woken at once, mostly with a grant: see
// hintsLocked. Before that the others may grant it too, and if they do not, somebody else
// has a majority, or the vote is split: the owner is woken after a time of chance, so that
// of several owners with a part each one asks before the others do.
type watch struct {
	s     *Store
	owner string
	waker lease.Waker

	// Guarded by Store.mu.
	parts []*watchPart // by node; another one for each id
	ended bool

	// gate is held while the owner is woken with a grant: no vote of the owner begins then.
	// It is locked before mu, and mu before Store.mu.
	gate sync.Mutex

	mu    sync.Mutex
	pause time.Duration
	timer *time.Timer // wakes, unless a majority gives hints before; stopped by Unwatch
	over  bool
}

// watchPart is the watch at one node under one id, which wakes it.
type watchPart struct {
	w     *watch
	id    string // as watched there; "": it is not
	epoch int    // of the id

	// Guarded by watch.mu.
	hinted bool        // since the last Acquire
	grant  lease.Grant // of the node's part; zero if the hint was none
}

// Watch implements [lease.Watcher]. Woken is called on a goroutine of a node's store, or of a
// timer. It is called with a grant if a majority of nodes have granted the owner their parts,
// with tokens of which one suits them all.
func (s *Store) Watch(owner string, waker lease.Waker) {
	w := &watch{s: s, owner: owner, waker: waker, parts: make([]*watchPart, len(s.nodes)), pause: minHint}
	first := make([]watchPart, len(s.nodes))
	for i := range w.parts {
		first[i].w = w
		w.parts[i] = &first[i]
	}
	s.mu.Lock()
	old := s.watches[owner]
	s.watches[owner] = w
	o := s.owners[owner]
	s.mu.Unlock()
	if old != nil {
		s.unwatch(old)
	}
	s.watchOn(w, owner, o)
}

// Unwatch implements [lease.Watcher].
func (s *Store) Unwatch(owner string) {
	s.mu.Lock()
	w := s.watches[owner]
	delete(s.watches, owner)
	s.mu.Unlock()
	if w != nil {
		s.unwatch(w)
	}
}

func (s *Store) unwatch(w *watch) {
	w.mu.Lock()
	w.over = true
	if w.timer != nil {
		w.timer.Stop()
	}
	w.mu.Unlock()
	s.mu.Lock()
	w.ended = true // ids do not change any more
	s.mu.Unlock()
	for i := range w.parts {
		if id := w.parts[i].id; id != "" {
			s.nodes[i].unwatch(id)
		}
	}
}

// unwatch ends the watch of an owner that may hold the key by what other nodes have granted.
func (n *node) unwatch(id string) {
	if t, ok := n.Store.(lease.Taker); ok {
		t.Taken(id)
	}
	n.watcher.Unwatch(id)
}

// rewatch prepares an owner's watch, if it has one, for an Acquire: hints from before
// say nothing of it, and nodes may know the owner by another id.
func (s *Store) rewatch(o *owner) {
	s.mu.Lock()
	w := s.watches[o.id]
	s.mu.Unlock()
	if w == nil {
		return
	}
	w.gate.Lock()
	w.mu.Lock()
	w.clearLocked()
	w.mu.Unlock()
	w.gate.Unlock()
	s.watchPresent(o)
}

// watchPresent has the nodes watch o by its present ids, if it is watched.
func (s *Store) watchPresent(o *owner) {
	s.mu.Lock()
	w := s.watches[o.id]
	s.mu.Unlock()
	if w != nil {
		s.watchOn(w, o.id, o)
	}
}

// nameLocked gives o, which is new, the ids by which it is watched already.
func (w *watch) nameLocked(o *owner) {
	if w == nil {
		return
	}
	for i, p := range w.parts {
		if p.epoch == 0 {
			o.parts[i].id = p.id
		}
	}
}

// clearLocked forgets hints.
func (w *watch) clearLocked() {
	w.s.mu.Lock()
	for _, p := range w.parts {
		p.hinted, p.grant = false, lease.Grant{}
	}
	w.s.mu.Unlock()
	if w.timer != nil {
		w.timer.Stop()
		w.timer = nil
	}
}

// watchOn has all nodes watch the owner by its present ids. Acquire is not called twice
// at once for one owner, nor beside Watch.
func (s *Store) watchOn(w *watch, owner string, o *owner) {
	for i, n := range s.nodes {
		if n.watcher == nil {
			continue
		}
		old, p := s.watchNext(w, i, owner, o)
		if p == nil {
			continue
		}
		if old != "" {
			n.watcher.Unwatch(old)
		}
		n.watcher.Watch(p.id, p)
	}
}

// watchNext puts the watch at node i in its place, and returns the id that was watched there
// before; nil if there is nothing to do.
func (s *Store) watchNext(w *watch, i int, owner string, o *owner) (old string, p *watchPart) {
	s.mu.Lock()
	defer s.mu.Unlock()
	epoch := 0
	if o != nil {
		epoch = o.parts[i].epoch
	}
	p = w.parts[i]
	old = p.id
	if w.ended || old != "" && p.epoch == epoch {
		return "", nil
	}
	if old != "" {
		p = &watchPart{w: w}
		w.parts[i] = p // a message for the old id says nothing of the new one
	}
	p.id, p.epoch = s.idOn(i, epoch, owner), epoch
	return old, p
}

// Woken implements [lease.Waker]: the node has granted the owner its part, or may have. Its
// store is told that the owner counts on the grant: it is used, or asked for, or released.
func (p *watchPart) Woken(g lease.Grant) (taken bool) {
	return p.w.hint(p, g) && g.Fence != 0
}

// hint notes one of a node, and reports whether it is about the owner's present id.
func (w *watch) hint(of *watchPart, g lease.Grant) (present bool) {
	w.gate.Lock()
	defer w.gate.Unlock()
	granted, enough, present := w.note(of, g)
	if enough {
		w.waker.Woken(granted)
	}
	return present
}

// note keeps the hint of one node, and returns what the owner is to be woken with, if enough
// have given one.
func (w *watch) note(of *watchPart, g lease.Grant) (granted lease.Grant, enough, present bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	of.hinted, of.grant = true, g
	granted, hints, present := w.hintsLocked(of)
	switch enough = hints >= w.s.majority; {
	case !present || w.over:
		return lease.Grant{}, false, present
	case enough:
		w.clearLocked()
	case w.timer == nil:
		w.timer = time.AfterFunc(w.s.jitter(w.pause), w.rouse)
	}
	return granted, enough, true
}

// hintsLocked counts the hints for present ids, and returns what the owner may start on: one
// token and the earliest end, if a majority has granted their parts with tokens that need no
// write-back, and nothing is under way that could end one of them. What a node announces of
// an id stands until the reservation ends, as long as the id was not given back there.
//
// No vote of the owner begins while the gate is held, so this stays true as long.
func (w *watch) hintsLocked(of *watchPart) (g lease.Grant, hints int, present bool) {
	s := w.s
	granted := make([]lease.AcquireReply, 0, 8)
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.owners[w.owner]
	for i, p := range w.parts {
		if o != nil && o.parts[i].epoch != p.epoch {
			continue // the id was given back
		}
		present = present || p == of && o != nil
		if p.hinted || o != nil && o.parts[i].kept {
			hints++
		}
		if p.grant.Fence == 0 || o == nil || o.asking || o.parts[i].busy {
			continue
		}
		granted = append(granted, lease.AcquireReply{Fence: p.grant.Fence, TokenCount: p.grant.TokenCount, Sent: p.grant.Since})
	}
	if len(granted) < s.majority {
		return lease.Grant{}, hints, present
	}
	slices.SortFunc(granted, func(a, b lease.AcquireReply) int { return b.Sent.Compare(a.Sent) })
	granted = granted[:s.majority] // those that last longest
	t, settled := choose(granted, 1, s.majority)
	if settled < s.majority {
		return lease.Grant{}, hints, present
	}
	return lease.Grant{Fence: t.first, TokenCount: 1, Since: granted[s.majority-1].Sent}, hints, present
}

// rouse wakes the owner though no majority gave hints.
func (w *watch) rouse() {
	w.mu.Lock()
	over := w.over
	w.timer = nil
	w.mu.Unlock()
	if !over {
		w.waker.Woken(lease.Grant{})
	}
}

// refused forgets a grant of node i that was announced before the node refused the owner.
func (s *Store) refused(o *owner, i int) {
	s.mu.Lock()
	w := s.watches[o.id]
	s.mu.Unlock()
	if w == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	w.parts[i].grant = lease.Grant{} // the hint stands: it may be a later one
}

// took tells the watch of o, if there is one, how long an Acquire took: hints of one
// release arrive within about that time.
func (s *Store) took(o *owner, d time.Duration) {
	s.mu.Lock()
	w := s.watches[o.id]
	s.mu.Unlock()
	if w != nil {
		w.mu.Lock()
		w.pause = min(max(2*d, minHint), maxHint)
		w.mu.Unlock()
	}
}
