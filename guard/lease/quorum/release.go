package quorum

import (
	"context"
	"fmt"
	"time"

	"github.com/jobguard/jobguard/guard/lease"
)

// Release implements [lease.Store]. It returns when a majority has answered alike, and
// the others have had half as long again. Nodes that have not answered are asked again in the
// background, as long as they may have the lease; so are those where an Acquire that was
// not answered may still take effect.
func (s *Store) Release(ctx context.Context, r lease.ReleaseRequest) (lease.ReleaseReply, error) {
	if r.Limit > 1 {
		return lease.ReleaseReply{}, errLimit(r.Limit)
	}
	if err := ctx.Err(); err != nil {
		return lease.ReleaseReply{}, fmt.Errorf("quorum: release: %w", err)
	}
	g := &givingBack{s: s, ctx: ctx, r: r, o: s.leave(r.Owner)}
	if r.KeepClosed > 0 {
		g.closedUntil = time.Now().Add(r.KeepClosed)
	}
	answers := g.ask()

	var reply lease.ReleaseReply
	reply.Resent = count(answers, func(a *answer[lease.ReleaseReply]) bool { return a.ok() && a.value.Resent }) > 0
	reply.Released = count(answers, isReleased) >= s.majority
	if !reply.Released && count(answers, isNot) <= len(s.nodes)-s.majority {
		return lease.ReleaseReply{}, failed(s, "release", answers)
	}
	return reply, nil
}

func isReleased(a *answer[lease.ReleaseReply]) bool { return a.ok() && a.value.Released }
func isNot(a *answer[lease.ReleaseReply]) bool      { return a.ok() && !a.value.Released }

// givingBack is one Release.
type givingBack struct {
	s           *Store
	ctx         context.Context
	r           lease.ReleaseRequest
	o           *owner    // nil: nothing is known of it
	closedUntil time.Time // zero: the key is not kept closed
}

// ask asks the nodes that may have something, and returns all answers.
func (g *givingBack) ask() []answer[lease.ReleaseReply] {
	s := g.s
	there := 0
	for i, n := range s.nodes {
		if g.mayBeOn(i) && !n.away.Load() {
			there++
		}
	}
	rd := newRound(s, g.releaseOn, func(answers []answer[lease.ReleaseReply]) bool {
		return count(answers, isReleased) >= s.majority || count(answers, isNot) > len(s.nodes)-s.majority
	}, nil)
	if deadline, ok := g.ctx.Deadline(); ok && patienceOf(g.ctx) == 0 {
		rd.until = deadline.Add(lateAnswer) // nodes are asked after an Acquire that is under way
	}
	for i, n := range s.nodes {
		switch {
		case !g.mayBeOn(i):
			rd.answered(i, lease.ReleaseReply{}, nil)
		case g.o != nil && there >= s.majority && n.away.Load():
			rd.answered(i, lease.ReleaseReply{}, errAway)
			go func() { s.awaitIdle(g.o, i); g.cleaner(i, 0).attempt() }() // ends with the attempt
		default:
			rd.expect(i, false)
		}
	}
	rd.start()
	rd.wait(g.ctx)
	return rd.answers
}

// mayBeOn reports whether node i may have the lease, or the owner in its queue.
func (g *givingBack) mayBeOn(i int) bool {
	if g.o == nil {
		return true
	}
	g.s.mu.Lock()
	defer g.s.mu.Unlock()
	return g.o.parts[i].asked
}

// releaseOn asks one node, after what is under way there.
func (g *givingBack) releaseOn(i int) (lease.ReleaseReply, error) {
	s := g.s
	life := g.r.Reservation
	if g.o != nil {
		s.awaitIdle(g.o, i)
		life = g.o.life
	}
	a := attempt(g.ctx, life)
	defer a.End()
	reply, err := s.nodes[i].Release(a, g.request(i))
	if g.o == nil {
		return reply, err
	}
	switch unknown := g.unknownOn(i); {
	case err != nil:
		c := g.cleaner(i, 1)
		c.again(c.pause())
	case unknown.After(time.Now()):
		g.cleaner(i, 0).again(time.Until(unknown) + time.Millisecond)
	}
	return reply, err
}

// unknownOn is until when an Acquire that node i has not answered may take effect.
func (g *givingBack) unknownOn(i int) time.Time {
	g.s.mu.Lock()
	defer g.s.mu.Unlock()
	return g.o.parts[i].unknown
}

// request is what node i is told. Unused tokens are not taken back: those of another owner
// on the node may lie among them.
func (g *givingBack) request(i int) lease.ReleaseRequest {
	r := g.r
	r.Fence, r.LastFence, r.Place = 0, 0, placeOn(r.Place, r.Limit)
	if g.o != nil {
		g.s.mu.Lock()
		r.Owner = g.s.idLocked(g.o, i)
		g.s.mu.Unlock()
	} else {
		r.Owner = g.s.idOn(i, 0, g.r.Owner)
	}
	if !g.closedUntil.IsZero() {
		r.KeepClosed = max(0, time.Until(g.closedUntil))
	}
	return r
}

func (g *givingBack) cleaner(i, failures int) *cleaner {
	return g.s.newCleaner(i, g.request(i), g.closedUntil, g.unknownOn(i), g.o.life, failures)
}
