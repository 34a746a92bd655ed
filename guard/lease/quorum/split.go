package quorum

import (
	"hash/fnv"
	"time"
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
// majority.
func (v *vote) keepParts() bool {
	cameToNothing := len(v.granted()) >= v.s.majority
	if cameToNothing || !v.r.Join || v.r.TTL > maxKept {
		return false
	}
	holders := make(map[string]int)
	for i := range v.round.answers {
		if a := &v.round.answers[i]; isRefused(a) {
			holders[ownerOf(a.value.Holder)]++
		}
	}
	lowest := len(holders) > 0
	for holder, nodes := range holders {
		if nodes >= v.s.majority {
			return true
		}
		lowest = lowest && rank(v.r.Owner) <= rank(holder)
	}
	return lowest
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
