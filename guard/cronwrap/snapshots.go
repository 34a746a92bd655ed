package cronwrap

import (
	"sync"

	"github.com/robfig/cron/v3"
)

// snapshots asks cron for its entries. cron copies all of them for each request, on
// the goroutine that also starts the jobs, so requests at about the same time share a
// reply. It is never older than the request.
type snapshots struct {
	take func() []cron.Entry
	turn chan struct{} // held by the goroutine that asks cron; no mutex, which stops time under synctest
	mu   sync.Mutex
	next *snapshot // not requested from cron yet; nil if none is wanted
}

type snapshot struct {
	taken   chan struct{}
	entries map[cron.EntryID]cron.Entry // set before taken is closed
}

func newSnapshots(take func() []cron.Entry) *snapshots {
	return &snapshots{take: take, turn: make(chan struct{}, 1)}
}

// of returns the entry with that id, or a zero one.
func (s *snapshots) of(id cron.EntryID) cron.Entry {
	s.mu.Lock()
	shared := s.next
	if shared != nil {
		s.mu.Unlock()
		<-shared.taken
		return shared.entries[id]
	}
	shared = &snapshot{taken: make(chan struct{})}
	s.next = shared
	s.mu.Unlock()

	s.turn <- struct{}{}
	s.mu.Lock()
	s.next = nil
	s.mu.Unlock()
	entries := s.take()
	<-s.turn
	shared.entries = make(map[cron.EntryID]cron.Entry, len(entries))
	for _, e := range entries {
		shared.entries[e.ID] = e
	}
	close(shared.taken)
	return shared.entries[id]
}

// entry returns the job's entry, as cron has it now.
func (j *job) entry() cron.Entry {
	j.adding.Lock()
	id := j.id
	j.adding.Unlock()
	return j.entries.of(id)
}
