package quorum

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jobguard/jobguard/guard/lease"
)

// Acquire implements [lease.Store]. It is one round trip if the nodes' ranges of tokens
// overlap, and one more to write the token back if not. It returns when a majority has
// answered alike, and the others have had half as long again.
//
// A Limit above one is refused with an error that wraps [lease.ErrRefused].
func (s *Store) Acquire(ctx context.Context, r lease.AcquireRequest) (lease.AcquireReply, error) {
	if r.Limit > 1 {
		return lease.AcquireReply{}, errLimit(r.Limit)
	}
	if err := ctx.Err(); err != nil {
		return lease.AcquireReply{}, fmt.Errorf("quorum: acquire: %w", err)
	}
	v := s.newVote(ctx, r)
	defer s.voted(v.o)
	v.round.wait(ctx)
	s.took(v.o, time.Since(v.round.began))
	if err := v.oneServer(); err != nil {
		v.conclude(false)
		v.abandon()
		return lease.AcquireReply{}, err
	}
	granted := v.granted()
	if len(granted) >= s.majority {
		reply, err := v.settle(granted)
		v.conclude(err == nil)
		return reply, err
	}
	reply, err := v.lost(ctx)
	v.conclude(false)
	switch {
	case errors.Is(err, lease.ErrRefused):
		v.abandon()
	case err == nil && !r.Join:
		s.forget(v.o) // it may not come back, not even for a Release
	}
	return reply, err
}

// abandon takes the owner out of all queues: after [lease.ErrRefused] it does not come back,
// not even for a Release.
func (v *vote) abandon() {
	a := attempt(v.ctx, v.r.TTL)
	defer a.End()
	_, _ = v.s.Release(a, lease.ReleaseRequest{Key: v.r.Key, Owner: v.r.Owner, Limit: v.r.Limit, Place: v.r.Place}) // a cleaner goes on
}

// vote is one Acquire.
type vote struct {
	s     *Store
	ctx   context.Context
	o     *owner
	r     lease.AcquireRequest
	round *round[lease.AcquireReply]
	parts []votePart // by node

	// Guarded by round.mu.
	over  bool  // the outcome stands
	won   bool  // it is a grant
	early []int // nodes whose late answers came before that
}

// votePart is what one node is asked with.
type votePart struct {
	id     string
	ticket int64
}

// newVote asks the nodes.
func (s *Store) newVote(ctx context.Context, r lease.AcquireRequest) *vote {
	v := &vote{s: s, ctx: ctx, o: s.enter(r), r: r, parts: make([]votePart, len(s.nodes))}
	v.round = newRound(s, v.acquireOn, v.decided, v.late)
	s.rewatch(v.o)

	ask := s.present()
	s.mu.Lock()
	for i := range s.nodes {
		p := &v.o.parts[i]
		if p.busy {
			v.round.answered(i, lease.AcquireReply{}, errBusy)
			continue
		}
		asked, probe := ask(i)
		if !asked {
			v.round.answered(i, lease.AcquireReply{}, errAway)
			continue
		}
		p.busy, p.asked, p.kept = true, true, false
		v.parts[i] = votePart{id: s.idLocked(v.o, i), ticket: p.ticket}
		if probe {
			v.round.probe(i)
		} else {
			v.round.expect(i, false)
		}
	}
	s.mu.Unlock()
	s.watchPresent(v.o) // what was under way at a node may have ended since

	v.round.start()
	return v
}

var (
	errBusy  = errors.New("an earlier request is still under way")
	errGoing = errors.New("the release of an earlier attempt has not arrived")
)

// acquireOn asks one node, and notes what it may have then.
func (v *vote) acquireOn(i int) (lease.AcquireReply, error) {
	r := v.r
	r.Owner, r.Ticket, r.Place = v.parts[i].id, v.parts[i].ticket, v.o.place
	if r.Limit == lease.Exclusive {
		r.TokenCount = spread
		r.KeepUnused = brief(v.ctx) // the node may answer sooner then, but would grant what comes late
	}
	a := attempt(v.ctx, r.TTL)
	defer a.End()
	reply, err := v.s.nodes[i].Acquire(a, r)
	deadline, _ := a.Deadline()

	v.s.mu.Lock()
	p := &v.o.parts[i]
	switch {
	case err != nil:
		p.unknown = deadline
	case reply.Unanswered.After(p.unknown):
		p.unknown = reply.Unanswered
	}
	if reply.Ticket != 0 {
		p.ticket = reply.Ticket
	}
	v.s.mu.Unlock()
	if err == nil && !reply.Granted {
		v.s.refused(v.o, i)
		if !v.leaves(reply) {
			v.s.idle(v.o, i)
		}
	}
	return reply, err
}

// late takes an answer that came when nobody waited any more.
func (v *vote) late(i int, reply lease.AcquireReply, err error) {
	if err == nil && !reply.Granted && !v.leaves(reply) {
		return // idle already
	}
	v.round.mu.Lock()
	if !v.over {
		v.early = append(v.early, i)
		v.round.mu.Unlock()
		return
	}
	v.round.mu.Unlock()
	if v.won {
		v.s.idle(v.o, i)
		return
	}
	_ = v.discardOn(i) // a cleaner goes on
}

// decided reports whether the nodes that have not answered could change nothing.
func (v *vote) decided(answers []answer[lease.AcquireReply]) bool {
	refused := count(answers, isRefused)
	if refused > len(answers)-v.s.majority {
		return true
	}
	return count(answers, isGranted) >= v.s.majority
}

func isGranted(a *answer[lease.AcquireReply]) bool { return a.ok() && a.value.Granted }
func isRefused(a *answer[lease.AcquireReply]) bool { return a.ok() && !a.value.Granted }

func (v *vote) granted() []lease.AcquireReply {
	granted := make([]lease.AcquireReply, 0, len(v.round.answers))
	for i := range v.round.answers {
		if a := &v.round.answers[i]; isGranted(a) {
			granted = append(granted, a.value)
		}
	}
	return granted
}

// oneServer is an error if a node refused the owner for what another node granted it: the
// two have the same data.
func (v *vote) oneServer() error {
	for i := range v.round.answers {
		a := &v.round.answers[i]
		if !a.ok() || a.value.Granted || ownerOf(a.value.Holder) != v.r.Owner {
			continue
		}
		process := lease.OwnerProcess(a.value.Holder)
		j := slices.IndexFunc(v.s.nodes, func(n *node) bool { return n.process == process })
		if j >= 0 && j != i {
			return fmt.Errorf("quorum: acquire: stores %d and %d are one server, or one is a replica of the other: "+
				"each needs a server of its own: %w", min(i, j)+1, max(i, j)+1, lease.ErrRefused)
		}
	}
	return nil
}

// settle makes the grants of a majority one.
func (v *vote) settle(granted []lease.AcquireReply) (lease.AcquireReply, error) {
	reply := lease.AcquireReply{Granted: true, Sent: v.sent()}
	if v.r.Limit == lease.Exclusive {
		t, settled := choose(granted, v.r.TokenCount, v.s.majority)
		if settled < v.s.majority {
			if err := v.writeBack(t.last); err != nil {
				return lease.AcquireReply{}, err
			}
		}
		reply.Fence, reply.TokenCount = t.first, int(t.last-t.first+1)
	}
	// The first of the leases may have ended while the last answer was on its way.
	if spent := time.Since(reply.Sent); spent >= v.r.TTL {
		return lease.AcquireReply{}, fmt.Errorf("quorum: acquire: the answers of a majority took %v, longer than the TTL", spent)
	}
	return reply, nil
}

// sent is before the first of the requests left that were answered.
func (v *vote) sent() time.Time {
	first := time.Time{}
	for i := range v.round.answers {
		a := &v.round.answers[i]
		if !a.asked || !a.ok() {
			continue
		}
		at := a.value.Sent
		if at.IsZero() {
			at = v.round.began
		}
		if first.IsZero() || at.Before(first) {
			first = at
		}
	}
	if first.IsZero() {
		return v.round.began
	}
	return first
}

// writeBack has a majority of the nodes that granted mint no token up to last again. A
// node that has lost the lease meanwhile does not count.
func (v *vote) writeBack(last int64) error {
	tell := func(i int) (lease.RenewReply, error) {
		a := attempt(v.ctx, v.r.TTL)
		defer a.End()
		reply := v.s.nodes[i].Renew(a, []lease.RenewRequest{{
			Key: v.r.Key, Owner: v.parts[i].id, TTL: v.r.TTL, Limit: v.r.Limit, Fence: last,
		}})[0]
		return reply, reply.Err
	}
	back := newRound(v.s, tell, func(answers []answer[lease.RenewReply]) bool { return count(answers, isHeld) >= v.s.majority }, nil)
	for i := range v.round.answers {
		switch a := &v.round.answers[i]; {
		case !a.ok() || !a.value.Granted:
			back.answered(i, lease.RenewReply{}, errors.New("it has not granted the key"))
		case lastOf(a.value) >= last:
			back.answered(i, lease.RenewReply{Held: true}, nil)
		default:
			back.expect(i, false)
		}
	}
	back.start()
	back.wait(v.ctx)
	if count(back.answers, isHeld) < v.s.majority {
		return failed(v.s, "acquire: write the token back", back.answers)
	}
	return nil
}

// lost is the reply when no majority granted the key, or the error if too few answered.
func (v *vote) lost(ctx context.Context) (lease.AcquireReply, error) {
	answers := v.round.answers
	var refusals []lease.AcquireReply
	granted := 0
	for i := range answers {
		a := &answers[i]
		switch {
		case !a.ok():
		case a.value.Granted:
			granted++
		default:
			a.value.Holder = ownerOf(a.value.Holder)
			if a.value.Holder == v.r.Owner {
				a.err = errGoing
				continue
			}
			refusals = append(refusals, a.value)
		}
	}
	if granted+len(refusals) < v.s.majority {
		if err := ctx.Err(); err != nil {
			return lease.AcquireReply{}, fmt.Errorf("quorum: acquire: %w", errors.Join(err, failed(v.s, "acquire", answers)))
		}
		return lease.AcquireReply{}, failed(v.s, "acquire", answers)
	}
	reply := mostFrequent(refusals)
	return lease.AcquireReply{
		Holder: reply.Holder, Foreign: reply.Foreign, Sent: v.sent(),
		Remaining: remaining(refusals, v.s.majority-granted),
	}, nil
}

// mostFrequent is a refusal by the holder that most nodes name.
func mostFrequent(refusals []lease.AcquireReply) (most lease.AcquireReply) {
	votes := 0
	for _, r := range refusals {
		n := 0
		for _, other := range refusals {
			if other.Holder == r.Holder {
				n++
			}
		}
		if n > votes {
			most, votes = r, n
		}
	}
	return most
}

// remaining is the time until so many of the nodes that refused, at most all, have no holder;
// negative if that is never.
func remaining(refusals []lease.AcquireReply, missing int) time.Duration {
	all := make([]time.Duration, len(refusals))
	for i, r := range refusals {
		all[i] = r.Remaining
	}
	slices.SortFunc(all, longestFirst)
	return all[len(all)-missing]
}

// conclude keeps what nodes granted, and will grant, to a vote that was won. To one that
// was lost it is given back, and so is what nodes that have not answered may have
// granted. It waits for the answers of nodes that had granted it, until ctx's deadline.
func (v *vote) conclude(won bool) {
	v.round.mu.Lock()
	v.over, v.won = true, won
	early := v.early
	v.round.mu.Unlock()
	held := func(i int) bool {
		a := &v.round.answers[i]
		if a.err == errGoing { //nolint:errorlint // set here; the node refused, and nothing is under way
			return false
		}
		return a.asked && a.done && (a.err != nil || a.value.Granted || v.leaves(a.value)) || slices.Contains(early, i)
	}
	if won {
		for i := range v.s.nodes {
			if held(i) {
				v.s.idle(v.o, i)
			}
		}
		return
	}
	keep := v.keepParts()
	discard := func(i int) (struct{}, error) { return struct{}{}, v.discardOn(i) }
	back := newRound(v.s, discard, func(answers []answer[struct{}]) bool {
		return count(answers, func(a *answer[struct{}]) bool { return a.asked && !a.spare && !a.done }) == 0
	}, nil)
	for i := range v.s.nodes {
		switch a := &v.round.answers[i]; {
		case !held(i):
		case keep && isGranted(a):
			v.s.keep(v.o, i)
		default:
			if isGranted(a) && len(v.granted()) < v.s.majority {
				v.s.givesBack(v.o, i)
			}
			back.expect(i, !isGranted(a))
		}
	}
	back.start()
	back.until, _ = v.ctx.Deadline() // discards have attempts of their own, which go on
	back.wait(v.ctx)
}

// leaves reports whether a node may yet grant an earlier sending of what it has refused, to an
// owner that does not wait: nobody would release it.
func (v *vote) leaves(refusal lease.AcquireReply) bool {
	return !v.r.Join && !refusal.Unanswered.IsZero()
}

// discardOn gives back what node i has granted, or may have.
func (v *vote) discardOn(i int) error { return v.s.discard(v.o, i, v.parts[i].id) }
