package quorum

import (
	"context"
	"errors"
	"fmt"

	"github.com/jobguard/jobguard/guard/lease"
)

var _ lease.Stopper = (*Store)(nil)

// Listen implements [lease.Stopper]: a message on one node is enough. That a lease was
// broken on a node is no message for its owner: the next renewal tells whether a majority
// is left. A store that is no lease.Stopper is not listened to.
func (s *Store) Listen(heard func(lease.Stop) (told bool)) (end func()) {
	var ends []func()
	for _, n := range s.nodes {
		stopper, ok := n.Store.(lease.Stopper)
		if !ok {
			continue
		}
		ends = append(ends, stopper.Listen(func(stop lease.Stop) bool {
			if stop.Kind == lease.Broken {
				return false
			}
			stop.Owner = ownerOf(stop.Owner)
			return heard(stop)
		}))
	}
	return func() {
		for _, end := range ends {
			end()
		}
	}
}

// Replace implements [lease.Stopper], if all stores do. The turn is the latest that any
// node gave, and a later one on a majority supersedes: a node that answered the first
// request too late to be counted may have given it a later one.
func (s *Store) Replace(ctx context.Context, r lease.ReplaceRequest) (lease.ReplaceReply, error) {
	stoppers := make([]lease.Stopper, len(s.nodes))
	for i, n := range s.nodes {
		stopper, ok := n.Store.(lease.Stopper)
		if !ok {
			return lease.ReplaceReply{}, fmt.Errorf("quorum: replace: store %d, a %T, %w: it is no lease.Stopper", i+1, n.Store, errors.ErrUnsupported)
		}
		stoppers[i] = stopper
	}
	superseded := func(reply lease.ReplaceReply) bool { return reply.Superseded }
	answers := askVotes(ctx, s, superseded, func(i int, ctx context.Context) (lease.ReplaceReply, error) {
		return stoppers[i].Replace(ctx, lease.ReplaceRequest{Key: r.Key, Owner: s.presentID(i, r.Owner), Turn: r.Turn})
	})
	if count(answers, (*answer[lease.ReplaceReply]).ok) < s.majority {
		return lease.ReplaceReply{}, failed(s, "replace", answers)
	}
	reply, later := lease.ReplaceReply{Turn: r.Turn}, 0
	for i := range answers {
		if a := &answers[i]; a.ok() {
			reply.Turn = max(reply.Turn, a.value.Turn)
			if a.value.Superseded {
				later++
			}
		}
	}
	reply.Superseded = later >= s.majority
	return reply, nil
}

// presentID is owner's id on node i.
func (s *Store) presentID(i int, id string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if o := s.owners[id]; o != nil {
		return s.idLocked(o, i)
	}
	return s.idOn(i, 0, id)
}
