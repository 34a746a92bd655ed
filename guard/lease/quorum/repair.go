package quorum

import (
	"context"
	"time"

	"github.com/jobguard/jobguard/guard/lease"
)

// Repair. A node that restarted empty, or did not hear of a lease, is given it again, so
// that the next loss of a node can be survived too. Only a lease that a majority has just
// renewed is repaired: else another owner may have it. Until the next renewal the
// repaired node does not count.

// toRepair reports whether node i, which answered so, is free where a majority is not.
func (n *renewal) toRepair(replies []lease.RenewReply) bool {
	for j := range replies {
		if n.needsRepair(replies, j) {
			return true
		}
	}
	return false
}

func (n *renewal) needsRepair(replies []lease.RenewReply, j int) bool {
	r := replies[j]
	free := r.Holder == "" || n.rs[j].Limit != lease.Exclusive // other readers are not in the way
	return n.held[j] && r.Err == nil && !r.Held && free
}

// repair asks node i for what it has lost. It ends at the first failure.
func (n *renewal) repair(i int, replies []lease.RenewReply) {
	for j := range replies {
		if n.needsRepair(replies, j) && !n.repairOne(i, n.rs[j]) {
			return
		}
	}
}

func (n *renewal) repairOne(i int, r lease.RenewRequest) (answered bool) {
	s := n.s
	s.mu.Lock()
	o := s.owners[r.Owner]
	// By now the owner may have left, or the renewal be too long ago to prove anything.
	if o == nil || o.parts[i].busy || time.Since(n.round.began) >= r.TTL {
		s.mu.Unlock()
		return true
	}
	p := &o.parts[i]
	p.busy, p.asked = true, true
	request := lease.AcquireRequest{
		Key: r.Key, Owner: s.idLocked(o, i), TTL: r.TTL, Limit: r.Limit, Place: o.place, TokenCount: spread,
	}
	s.mu.Unlock()

	// Patient: the node refuses it when it is late, else it would outlive its clean-up.
	a := lease.NewPatientAttempt(context.Background(), attemptLimit(r.TTL))
	reply, err := s.nodes[i].Acquire(a, request)
	deadline, _ := a.Deadline()
	a.End()
	s.nodes[i].heard(err)

	s.mu.Lock()
	if err != nil {
		p.unknown = deadline
	} else if reply.Unanswered.After(p.unknown) {
		p.unknown = reply.Unanswered
	}
	s.mu.Unlock()
	s.idle(o, i)
	return err == nil
}
