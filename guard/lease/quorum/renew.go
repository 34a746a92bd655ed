package quorum

import (
	"context"
	"fmt"
	"time"

	"github.com/jobguard/jobguard/guard/lease"
)

// Renew implements [lease.Store]. A lease is held if a majority says so, and lost if no
// majority can say so any more; else the reply is an error. All requests share one round
// trip.
//
// A node that is free, though a majority has renewed the lease, was away: it is asked for
// the lease in the background, and counts from the next renewal on.
func (s *Store) Renew(ctx context.Context, rs []lease.RenewRequest) []lease.RenewReply {
	replies := make([]lease.RenewReply, len(rs))
	if len(rs) == 0 {
		return replies
	}
	if err := ctx.Err(); err != nil {
		for i := range replies {
			replies[i].Err = fmt.Errorf("quorum: renew: %w", err)
		}
		return replies
	}
	n := &renewal{s: s, rs: rs, ids: make([][]string, len(s.nodes)), busy: make([][]bool, len(s.nodes))}
	n.round = newRound(s, func(i int) ([]lease.RenewReply, error) { return n.renewOn(ctx, i) }, n.decided, n.late)
	for i := range s.nodes {
		n.ids[i], n.busy[i] = s.idsOn(i, rs)
		n.round.expect(i, s.nodes[i].away.Load())
	}
	n.round.start()
	n.round.wait(ctx)
	return n.conclude()
}

// renewal is one Renew.
type renewal struct {
	s     *Store
	rs    []lease.RenewRequest
	ids   [][]string // by node and request
	busy  [][]bool   // likewise: a call was under way, which may give the lease back
	round *round[[]lease.RenewReply]
	// Guarded by round.mu.
	held  []bool                     // by request; nil until the outcome is known
	early map[int][]lease.RenewReply // late answers that came before that, by node
}

// idsOn are the ids of the requests' owners on node i, and whether a call of theirs is under
// way there.
func (s *Store) idsOn(i int, rs []lease.RenewRequest) (ids []string, busy []bool) {
	ids, busy = make([]string, len(rs)), make([]bool, len(rs))
	s.mu.Lock()
	defer s.mu.Unlock()
	for j, r := range rs {
		if o := s.owners[r.Owner]; o != nil {
			ids[j], busy[j] = s.idLocked(o, i), o.parts[i].busy
		} else {
			ids[j] = s.idOn(i, 0, r.Owner)
		}
	}
	return ids, busy
}

// renewOn asks one node. Its error is that of the first request, if all have one.
func (n *renewal) renewOn(ctx context.Context, i int) ([]lease.RenewReply, error) {
	rs := make([]lease.RenewRequest, len(n.rs))
	for j, r := range n.rs {
		r.Owner = n.ids[i][j]
		rs[j] = r
	}
	a := attempt(ctx, shortest(rs))
	defer a.End()
	replies := n.s.nodes[i].Renew(a, rs)
	for _, r := range replies {
		if r.Err == nil {
			return replies, nil
		}
	}
	return replies, replies[0].Err
}

func shortest(rs []lease.RenewRequest) time.Duration {
	ttl := rs[0].TTL
	for _, r := range rs {
		ttl = min(ttl, r.TTL)
	}
	return ttl
}

// about are the nodes' answers about one lease.
func (n *renewal) about(answers []answer[[]lease.RenewReply], j int) []answer[lease.RenewReply] {
	all := make([]answer[lease.RenewReply], len(answers))
	for i := range answers {
		a := &answers[i]
		all[i] = answer[lease.RenewReply]{asked: a.asked, done: a.done, err: a.err}
		if j < len(a.value) {
			all[i].value, all[i].err = a.value[j], a.value[j].Err
		}
		if n.busy[i][j] && all[i].err == nil {
			all[i].err = errBusy
		}
	}
	return all
}

func isHeld(a *answer[lease.RenewReply]) bool { return a.ok() && a.value.Held }
func isLost(a *answer[lease.RenewReply]) bool { return a.ok() && !a.value.Held }

// decided reports whether the nodes that have not answered could change nothing.
func (n *renewal) decided(answers []answer[[]lease.RenewReply]) bool {
	for j := range n.rs {
		held, lost := 0, 0
		for i := range answers {
			switch a := &answers[i]; {
			case !a.done || j >= len(a.value) || a.value[j].Err != nil || n.busy[i][j]:
			case a.value[j].Held:
				held++
			default:
				lost++
			}
		}
		if held < n.s.majority && lost <= len(n.s.nodes)-n.s.majority {
			return false
		}
	}
	return true
}

// conclude returns the replies, and starts repairs.
func (n *renewal) conclude() []lease.RenewReply {
	replies := make([]lease.RenewReply, len(n.rs))
	held := make([]bool, len(n.rs))
	for j := range n.rs {
		replies[j] = n.reply(j)
		held[j] = replies[j].Held
	}
	n.round.mu.Lock()
	n.held = held
	early := n.early
	n.round.mu.Unlock()
	for i := range n.s.nodes {
		known := early[i]
		if a := &n.round.answers[i]; a.ok() {
			known = a.value
		}
		if n.toRepair(known) {
			go n.repair(i, known) // ends with the node's answers
		}
	}
	return replies
}

func (n *renewal) reply(j int) lease.RenewReply {
	if n.rs[j].Limit > 1 {
		return lease.RenewReply{Err: errLimit(n.rs[j].Limit)}
	}
	answers := n.about(n.round.answers, j)
	switch {
	case count(answers, isHeld) >= n.s.majority:
		return lease.RenewReply{Held: true, Sent: n.sent(answers)}
	case count(answers, isLost) > len(n.s.nodes)-n.s.majority:
		return lease.RenewReply{Holder: holderOf(answers), Sent: n.round.began}
	}
	return lease.RenewReply{Err: failed(n.s, "renew", answers)}
}

// sent is before the first request left of those that renewed.
func (n *renewal) sent(answers []answer[lease.RenewReply]) (first time.Time) {
	for i := range answers {
		a := &answers[i]
		if !isHeld(a) {
			continue
		}
		if a.value.Sent.IsZero() {
			return n.round.began
		}
		if first.IsZero() || a.value.Sent.Before(first) {
			first = a.value.Sent
		}
	}
	return first
}

// holderOf is the holder that most nodes name, "" if none does.
func holderOf(answers []answer[lease.RenewReply]) string {
	var named []lease.AcquireReply
	for i := range answers {
		if a := &answers[i]; isLost(a) && a.value.Holder != "" {
			named = append(named, lease.AcquireReply{Holder: ownerOf(a.value.Holder)})
		}
	}
	return mostFrequent(named).Holder
}

// late takes an answer that came when nobody waited any more: it may show that the node
// needs repair.
func (n *renewal) late(i int, replies []lease.RenewReply, err error) {
	if err != nil {
		return
	}
	n.round.mu.Lock()
	over := n.held != nil
	if !over {
		if n.early == nil {
			n.early = make(map[int][]lease.RenewReply)
		}
		n.early[i] = replies
	}
	n.round.mu.Unlock()
	if over && n.toRepair(replies) {
		n.repair(i, replies)
	}
}
