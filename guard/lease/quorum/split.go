package quorum

import (
	"hash/fnv"
	"time"

	"github.com/jobguard/jobguard/guard/lease"
)

// A vote that is lost may have been granted parts of the key, on fewer nodes than a majority.

// maxKept is the longest lease of which parts are kept: a waiter that dies meanwhile keeps
// those nodes from others for so long. A kept part is not shortened: a renewal that does so
// may arrive after one that counts.
const maxKept = time.Minute

// keepParts reports whether the owner, which waits, keeps its parts. It does if a majority
// names one holder, which loses nothing by that: given back, the parts would go to the next
// in line, who could do no more with them. And it does in a split vote if no other owner
// that is named has a lower rank: that one's parts go round among the others until it has a
// majority. Where a node does not name its holders, several readers or those of a limit,
// chance decides: if all kept their parts they would wait for each other for ever.
func (v *vote) keepParts() bool {
	cameToNothing := len(v.granted()) >= v.s.majority
	if cameToNothing || !v.r.Join || v.r.TTL > maxKept {
		return false
	}
	holders := make(map[string]int)
	refused, unnamed := 0, 0
	for i := range v.round.answers {
		a := &v.round.answers[i]
		if !isRefused(a) {
			continue
		}
		refused++
		if namesNobody(a.value) {
			unnamed++
		} else {
			holders[ownerOf(a.value.Holder)]++
		}
	}
	lowest := refused > 0
	for holder, nodes := range holders {
		if nodes >= v.s.majority {
			return true
		}
		lowest = lowest && rank(v.r.Owner) <= rank(holder)
	}
	return lowest && (unnamed == 0 || v.s.random(2) == 0)
}

// namesNobody reports whether a refusal tells of no owner in particular: the key has several,
// or none yet who is known.
func namesNobody(refusal lease.AcquireReply) bool {
	return !refusal.Foreign && !lease.KeptClosed(refusal.Holder) && lease.OwnerProcess(refusal.Holder) == ""
}

// rank orders owners by chance, the same in all processes.
func rank(owner string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(owner)) // never fails
	return h.Sum64()
}

// keep leaves o what node i has granted, and ends what was under way there.
func (s *Store) keep(o *owner, i int) {
	s.mu.Lock()
	o.parts[i].kept = true
	s.mu.Unlock()
	s.idle(o, i)
}

// returns is how often an owner returns to its place in a node's queue after it has given a
// part back. Eight callers of each of two processes on three and five servers, 100 to 300 ms
// between two requests: with 2 and with 5 the slowest of 96 storms of 80 turns took 3 s; if
// owners always returned, 16 s, and 4 s if they never did.
const returns = 2

// givesBack notes that o gives back what node i granted it in a vote that others may win. If it
// has returned to its place often enough it stands at the end of that node's queue when it
// asks again: in its place it would be granted the part again, before that has gone round to
// the owner for which it was given back.
func (s *Store) givesBack(o *owner, i int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := &o.parts[i]
	if p.returned == returns {
		p.ticket = 0
		return
	}
	p.returned++
}
