package redisstore

import (
	"context"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/jobguard/jobguard/guard/lease"
)

var _ lease.HolderFinder = (*Store)(nil)

// FindHolder implements [lease.HolderFinder]. It only reads, GET and PTTL of the lease.
func (s *Store) FindHolder(ctx context.Context, key string) (lease.Holder, error) {
	names := leaseOnly(s.prefix, key)
	name := names.lease()
	get, pttl := newOp(name, "get", name), newOp(name, "pttl", name)
	s.router.do(ctx, false, get, pttl)
	if get.unanswered != nil {
		return lease.Holder{}, fault(ctx, "find holder", get.unanswered)
	}
	value, err := get.Text()
	if errors.Is(err, redis.Nil) {
		return lease.Holder{}, nil
	}
	if redis.HasErrorPrefix(err, "WRONGTYPE") {
		value, err = s.otherType(ctx, name)
		get.final().SetErr(err)
	}
	if err := errors.Join(get.outcome(), pttl.outcome()); err != nil {
		return lease.Holder{}, fault(ctx, "find holder", err)
	}
	left, err := pttl.Int64()
	switch {
	case err != nil:
		return lease.Holder{}, fault(ctx, "find holder", err)
	case left == -2: // expired between the two
		return lease.Holder{}, nil
	}
	return lease.HolderOf(value, time.Duration(left)*time.Millisecond), nil
}

// otherType says what is under name, which is no string, as lease_value in queue.lua does.
func (s *Store) otherType(ctx context.Context, name string) (string, error) {
	kind, err := s.typeOf(ctx, name)
	return "a " + kind + " of another program", err
}

func (s *Store) typeOf(ctx context.Context, name string) (string, error) {
	kind := newOp(name, "type", name)
	s.router.do(ctx, false, kind)
	if err := kind.outcome(); err != nil {
		return "", err
	}
	return kind.Text()
}
