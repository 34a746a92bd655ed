package redisstore

import (
	"context"
	"errors"
	"strconv"

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
func (s *Store) renewMoving(ctx context.Context, r lease.RenewRequest) (lease.RenewReply, error) {
	names := s.names.of(s.prefix, r.Key)
	numbers := []int64{millis(r.TTL)}
	marker := renewLimitOneScript.call(names, 1, []string{""}, numbers, "")
	s.router.do(ctx, s.replicas > 0, marker)
	reply, err := s.renewed(marker)
	if err != nil || !reply.Held {
		return reply, err
	}
	holder := renewLimitOneScript.call(names.holdersOnly(), 1, []string{holderMember(r.Limit, r.Owner)}, numbers, "")
	s.router.do(ctx, s.replicas > 0, holder)
	sent := reply.Sent // the earlier of the two
	reply, err = s.renewed(holder)
	reply.Sent = sent
	return reply, err
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

// holderMember is an owner's member of the holders, as queue.lua writes it.
func holderMember(limit lease.Limit, owner string) string {
	return strconv.Itoa(int(limit)) + ";" + owner
}
