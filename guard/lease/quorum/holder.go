package quorum

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jobguard/jobguard/guard/lease"
)

// FindHolder implements [lease.HolderFinder], if all stores do. A majority of nodes must
// answer, and a majority of all nodes have a holder, else the key is free. A Token is not
// found.
func (s *Store) FindHolder(ctx context.Context, key string) (lease.Holder, error) {
	finders := make([]lease.HolderFinder, len(s.nodes))
	for i, n := range s.nodes {
		finder, ok := n.Store.(lease.HolderFinder)
		if !ok {
			return lease.Holder{}, fmt.Errorf("quorum: find holder: store %d, a %T, %w: it is no lease.HolderFinder", i+1, n.Store, errors.ErrUnsupported)
		}
		finders[i] = finder
	}
	// A grant is known to a majority before it is to all: the first answers may differ.
	agree := func(answers []answer[lease.Holder]) bool {
		free := count(answers, func(a *answer[lease.Holder]) bool { return a.ok() && a.value.Owner == "" })
		return max(free, count(answers, (*answer[lease.Holder]).ok)-free) >= s.majority
	}
	answers := askUntil(ctx, s, agree, func(i int, ctx context.Context) (lease.Holder, error) { return finders[i].FindHolder(ctx, key) })
	var held []lease.Holder
	for i := range answers {
		if a := &answers[i]; a.ok() && a.value.Owner != "" {
			held = append(held, asAllKnow(a.value))
		}
	}
	switch {
	case count(answers, (*answer[lease.Holder]).ok) < s.majority:
		return lease.Holder{}, failed(s, "find holder", answers)
	case len(held) < s.majority:
		return lease.Holder{}, nil
	}
	return s.mostNamed(held), nil
}

// asAllKnow is a holder that a node names, as the quorum's owner that it is.
func asAllKnow(h lease.Holder) lease.Holder {
	if id := ownerOf(h.ID); id != h.ID {
		h.ID, h.Process = id, lease.OwnerProcess(id)
	}
	return h
}

// mostNamed is the holder that most nodes name. It has the key until fewer than a
// majority do.
func (s *Store) mostNamed(held []lease.Holder) lease.Holder {
	var most lease.Holder
	var lives []time.Duration
	for _, h := range held {
		var same []time.Duration
		for _, other := range held {
			if other.ID == h.ID {
				same = append(same, other.Remaining)
			}
		}
		if len(same) > len(lives) {
			most, lives = h, same
		}
	}
	slices.SortFunc(lives, longestFirst)
	most.Remaining = lives[min(s.majority, len(lives))-1]
	return most
}

// longestFirst orders remaining times; negative is for ever.
func longestFirst(a, b time.Duration) int {
	switch {
	case a < 0 && b < 0:
		return 0
	case a < 0:
		return -1
	case b < 0:
		return 1
	}
	return int(b - a)
}

// askAll asks all nodes, and returns when a majority has answered and the others have
// had their grace.
func askAll[T any](ctx context.Context, s *Store, call func(i int, ctx context.Context) (T, error)) []answer[T] {
	return askUntil(ctx, s, func(answers []answer[T]) bool { return count(answers, (*answer[T]).ok) >= s.majority }, call)
}

// askVotes asks all nodes a question of yes or no, and returns when the vote is decided and
// the others have had their grace: a majority says yes, or so many say no that none can.
func askVotes[T any](ctx context.Context, s *Store, yes func(T) bool, call func(i int, ctx context.Context) (T, error)) []answer[T] {
	return askUntil(ctx, s, func(answers []answer[T]) bool {
		pro := count(answers, func(a *answer[T]) bool { return a.ok() && yes(a.value) })
		contra := count(answers, func(a *answer[T]) bool { return a.ok() && !yes(a.value) })
		return pro >= s.majority || contra > len(s.nodes)-s.majority
	}, call)
}

// askUntil is askAll whose answers are enough when decided says so. Of a ctx that has ended
// they are its error.
func askUntil[T any](ctx context.Context, s *Store, decided func([]answer[T]) bool, call func(i int, ctx context.Context) (T, error)) []answer[T] {
	rd := newRound(s, func(i int) (T, error) {
		a := attempt(ctx, 0)
		defer a.End()
		return call(i, a)
	}, decided, nil)
	if err := ctx.Err(); err != nil {
		for i := range s.nodes {
			rd.answers[i] = answer[T]{done: true, err: err}
		}
		return rd.answers
	}
	for i, n := range s.nodes {
		rd.expect(i, n.away.Load())
	}
	rd.start()
	rd.wait(ctx)
	return rd.answers
}
