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
	waker lease.Waker

	mu    sync.Mutex
	ids   []string // by node, as watched there; guarded by Store.mu
	hints []bool   // by node, since the last Acquire
	pause time.Duration
	timer *time.Timer // wakes, unless a majority gives hints before; stopped by Unwatch
	over  bool
}

// Watch implements [lease.Watcher]. Woken is called on a goroutine of a node's store, or of a
// timer, and never with a grant: the owner must ask.
func (s *Store) Watch(owner string, waker lease.Waker) {
	w := &watch{waker: waker, ids: make([]string, len(s.nodes)), hints: make([]bool, len(s.nodes)), pause: minHint}
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
	ids := w.ids
	w.ids = nil
	s.mu.Unlock()
	for i, id := range ids {
		if n := s.nodes[i]; n.watcher != nil && id != "" {
			n.watcher.Unwatch(id)
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
	clear(w.hints)
	if w.timer != nil {
		w.timer.Stop()
		w.timer = nil
	}
	w.mu.Unlock()
	s.watchOn(w, o.id, o)
}

// watchOn has all nodes watch the owner by its present ids. Acquire is not called twice
// at once for one owner, nor beside Watch.
func (s *Store) watchOn(w *watch, owner string, o *owner) {
	for i, n := range s.nodes {
		if n.watcher == nil {
			continue
		}
		s.mu.Lock()
		epoch := 0
		if o != nil {
			epoch = o.parts[i].epoch
		}
		if len(w.ids) == 0 || w.ids[i] != "" && epoch == 0 {
			s.mu.Unlock()
			continue
		}
		old, id := w.ids[i], s.idOn(i, epoch, owner)
		w.ids[i] = id
		s.mu.Unlock()
		if old == id {
			continue
		}
		if old != "" {
			n.watcher.Unwatch(old)
		}
		n.watcher.Watch(id, lease.WakeFunc(func(lease.Grant) bool { w.hint(i, s); return false }))
	}
}

// hint notes that node i has granted the owner its part, or may have.
func (w *watch) hint(i int, s *Store) {
	w.mu.Lock()
	if w.over {
		w.mu.Unlock()
		return
	}
	w.hints[i] = true
	hints := 0
	for _, hinted := range w.hints {
		if hinted {
			hints++
		}
	}
	if hints < s.majority {
		if w.timer == nil {
			w.timer = time.AfterFunc(s.jitter(w.pause), w.rouse)
		}
		w.mu.Unlock()
		return
	}
	clear(w.hints)
	if w.timer != nil {
		w.timer.Stop()
		w.timer = nil
	}
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
