package quorum

import (
	"sync"
	"time"

	"github.com/jobguard/jobguard/guard/lease"
)

// minHint and maxHint bound how long a hint of one node waits for those of others.
const (
	minHint = 2 * time.Millisecond
	maxHint = 100 * time.Millisecond
)

// watch is the watch of one owner. A node that grants the owner its part of the key
// gives a hint. When a majority has, the owner is woken at once. Before that the others
// may grant it too, and if they do not, the vote is split: the owner is woken after a
// time of chance, so that of several owners with a part each one gives its part back
// before the others do.
type watch struct {
	s     *Store
	waker lease.Waker
	parts []watchPart // by node
	ended bool        // guarded by Store.mu

	mu    sync.Mutex
	pause time.Duration
	timer *time.Timer // wakes, unless a majority gives hints before; stopped by Unwatch
	over  bool
}

// watchPart is the watch at one node, which wakes it.
type watchPart struct {
	w *watch

	// Guarded by Store.mu.
	id    string // as watched there; "": it is not
	epoch int    // of the id

	hinted bool // since the last Acquire; guarded by watch.mu
}

// Watch implements [lease.Watcher]. Woken is called on a goroutine of a node's store, or of a
// timer, and never with a grant: the owner must ask.
func (s *Store) Watch(owner string, waker lease.Waker) {
	w := &watch{s: s, waker: waker, parts: make([]watchPart, len(s.nodes)), pause: minHint}
	for i := range w.parts {
		w.parts[i].w = w
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
			s.nodes[i].watcher.Unwatch(id)
		}
	}
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
	w.mu.Lock()
	w.clearLocked()
	w.mu.Unlock()
	s.watchOn(w, o.id, o)
}

// nameLocked gives o, which is new, the ids by which it is watched already.
func (w *watch) nameLocked(o *owner) {
	if w == nil {
		return
	}
	for i := range w.parts {
		if p := &w.parts[i]; p.epoch == 0 {
			o.parts[i].id = p.id
		}
	}
}

// clearLocked forgets hints.
func (w *watch) clearLocked() {
	for i := range w.parts {
		w.parts[i].hinted = false
	}
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
		p := &w.parts[i]
		epoch := 0
		s.mu.Lock()
		if o != nil {
			epoch = o.parts[i].epoch
		}
		old := p.id
		if w.ended || old != "" && p.epoch == epoch {
			s.mu.Unlock()
			continue
		}
		id := s.idOn(i, epoch, owner)
		p.id, p.epoch = id, epoch
		s.mu.Unlock()
		if old != "" {
			n.watcher.Unwatch(old)
		}
		n.watcher.Watch(id, p)
	}
}

// Woken implements [lease.Waker]: the node has granted the owner its part, or may have.
func (p *watchPart) Woken(lease.Grant) (taken bool) {
	p.w.hint(p)
	return false
}

// hint notes one of a node.
func (w *watch) hint(of *watchPart) {
	w.mu.Lock()
	if w.over {
		w.mu.Unlock()
		return
	}
	of.hinted = true
	hints := 0
	for i := range w.parts {
		if w.parts[i].hinted {
			hints++
		}
	}
	if hints < w.s.majority {
		if w.timer == nil {
			w.timer = time.AfterFunc(w.s.jitter(w.pause), w.rouse)
		}
		w.mu.Unlock()
		return
	}
	w.clearLocked()
	w.mu.Unlock()
	w.waker.Woken(lease.Grant{})
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
