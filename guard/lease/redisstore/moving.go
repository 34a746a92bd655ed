package redisstore

import (
	"context"
	"errors"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/jobguard/jobguard/guard/lease"
)

// While a Cluster moves a slot, it answers TRYAGAIN to a script with several keys as
// soon as one of them does not exist where it is asked. A free key has no companions, so
// that is nearly every request. What follows goes on meanwhile with scripts that have one
// key: exclusive acquires, and renewals and releases of all. The queue rests: keys are
// granted to whoever finds them free.

func moving(err error) bool { return err != nil && redis.HasErrorPrefix(err, "TRYAGAIN") }

// acquireMoving grants the lease and then mints its token. Nobody else can have minted
// a later one for a lease of its own as long as this one is trusted.
func (s *Store) acquireMoving(ctx context.Context, names *names, r lease.AcquireRequest, notAfter int64) (acquired, error) {
	o := acquireOneScript.call(names, 1, []string{r.Owner}, []int64{millis(r.TTL), notAfter, r.Ticket}, "")
	s.router.do(ctx, s.replicas > 0, o)
	if err := o.outcome(); err != nil {
		return acquired{}, err
	}
	reply, err := readAcquired(o)
	if o.resent {
		reply.Unanswered, _ = ctx.Deadline()
	}
	if err != nil || !reply.Granted {
		return reply, err
	}
	if err := s.checkAcks(o); err != nil {
		return acquired{}, err
	}
	mint := mintScript.call(names.fenceOnly(), 1, nil, nil, "")
	s.router.do(ctx, s.replicas > 0, mint)
	if err := mint.outcome(); err != nil {
		return acquired{}, err
	}
	reply.Fence, err = mint.Int64()
	reply.TokenCount = 1
	return reply, errors.Join(err, s.checkAcks(mint))
}

// renewMoving renews one lease under a limit.
func (s *Store) renewMoving(ctx context.Context, r lease.RenewRequest) lease.RenewReply {
	names := s.names.of(s.prefix, r.Key)
	numbers := []int64{millis(r.TTL)}
	marker := renewLimitOneScript.call(names, 1, []string{""}, numbers, "")
	s.router.do(ctx, s.replicas > 0, marker)
	first := s.renewed(marker, 1)[0]
	if first.Err != nil || !first.Held {
		return first
	}
	holder := renewLimitOneScript.call(names.holdersOnly(), 1, []string{holderMember(r.Limit, r.Owner)}, numbers, "")
	s.router.do(ctx, s.replicas > 0, holder)
	reply := s.renewed(holder, 1)[0]
	reply.Sent = first.Sent // the earlier of the two
	return reply
}

// releaseMoving releases a lease, and leaves the queue. The marker of several holders
// stays until it expires: another holder may just have joined them.
func (s *Store) releaseMoving(ctx context.Context, r releasing) (lease.ReleaseReply, error) {
	leave := newOp(r.names.lease(), "zrem", r.names.queue(), r.place()+";"+r.owner) // its key in heard expires
	free := newOp(r.names.lease(), "zrem", r.names.holders(), holderMember(r.limit(), r.owner))
	if r.exclusive() {
		free = releaseOneScript.call(r.names, 1, []string{r.owner, r.marker()}, []int64{r.keepClosed}, "")
	}
	s.router.do(ctx, false, leave, free)
	if err := errors.Join(leave.outcome(), free.outcome()); err != nil {
		return lease.ReleaseReply{}, err
	}
	n, err := free.Int64()
	return lease.ReleaseReply{Released: n == 1, Resent: free.resent}, err
}

// inspectMoving reads what inspect.lua does with commands that have one key each, while a
// Cluster moves the slot: it was not all true at one moment.
func (s *Store) inspectMoving(ctx context.Context, n *names, members int64) ([]any, error) {
	lease := n.lease()
	clock, get, left := newOp(lease, "time"), newOp(lease, "getrange", lease, 0, 4095), newOp(lease, "pttl", lease)
	last, waiting, holding := newOp(lease, "zscore", n.all[3], "t"), newOp(lease, "zcard", n.queue()), newOp(lease, "zcard", n.holders())
	queue := membersScript.call(only(n.queue()), 1, []string{"-inf"}, []int64{members}, "")
	holders := membersScript.call(only(n.holders()), 1, []string{"-inf"}, []int64{members}, "")
	ops := []*op{clock, get, left, last, waiting, queue, holding, holders}
	s.router.do(ctx, false, ops...)
	values := make([]any, len(ops))
	other := int64(0)
	for i, o := range ops {
		err := o.outcome()
		switch {
		case err == nil:
			values[i] = o.final().Val()
		case o == get && redis.HasErrorPrefix(err, "WRONGTYPE"):
			kind, err := s.typeOf(ctx, lease)
			if err != nil {
				return nil, err
			}
			values[i], other = kind, 1
		case !errors.Is(err, redis.Nil):
			return nil, err
		}
	}
	if values[2] == int64(-2) {
		values[1] = nil // GETRANGE of a free key is ""
	}
	text, _ := values[1].(string)
	if !strings.HasPrefix(text, "shared|") && !strings.HasPrefix(text, "limited|") || other == 1 {
		values[6], values[7] = int64(0), nil
	}
	now, err := clockOf(values[0])
	if err != nil {
		return nil, err
	}
	return append([]any{now, values[1], values[2], other}, values[3:]...), nil
}

// clockOf reads the reply of TIME, in µs.
func clockOf(v any) (int64, error) {
	pair, _ := v.([]any)
	r := reader{values: pair}
	seconds, micros := r.number(), r.number()
	return seconds*1_000_000 + micros, r.err
}

// holderMember is an owner's member of the holders, as queue.lua writes it.
func holderMember(limit lease.Limit, owner string) string {
	return strconv.Itoa(int(limit)) + ";" + owner
}
