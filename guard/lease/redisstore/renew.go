package redisstore

import (
	"context"
	"fmt"
	"slices"

	"github.com/redis/go-redis/v9"

	"github.com/jobguard/jobguard/guard/lease"
)

// together is how many leases one script renews on a single node: a renewal costs Redis a
// third less than alone, and the script is over in 70 µs. On a Cluster, where a
// script has keys of one slot only, each is renewed alone.
const together = 16

// renewal is one command, which renews some of the leases of a call.
type renewal struct {
	*op
	of []int // which requests they are
}

// Renew implements [lease.Store]. Requests to one node share a round trip.
func (s *Store) Renew(ctx context.Context, rs []lease.RenewRequest) []lease.RenewReply {
	replies := make([]lease.RenewReply, len(rs))
	all := make([]int, len(rs))
	for i := range all {
		all[i] = i
	}
	most := 1
	if s.single && !s.apart.Load() {
		most = together
	}
	if doubtful := s.renew(ctx, rs, replies, all, most); doubtful != nil {
		s.renew(ctx, rs, replies, doubtful, 1)
		if slices.ContainsFunc(doubtful, func(i int) bool { return replies[i].Held && replies[i].Err == nil }) {
			s.apart.Store(true) // a node of a Cluster, or a proxy for several servers
		}
	}
	for i, r := range rs {
		if r.Limit != lease.Exclusive && moving(replies[i].Err) {
			replies[i] = s.renewMoving(ctx, r)
		}
		if err := replies[i].Err; err != nil {
			replies[i] = lease.RenewReply{Err: fault(ctx, "renew", err)}
		}
	}
	return replies
}

// renew renews those of the leases with up to most in one script. It returns those that
// it did not renew if that may be because they were several: a proxy may send a script to the
// server of its first key, which has none of the others.
func (s *Store) renew(ctx context.Context, rs []lease.RenewRequest, replies []lease.RenewReply, those []int, most int) (doubtful []int) {
	renewals := make([]renewal, 0, 1+len(those)/most)
	ops := make([]*op, 0, cap(renewals))
	for len(those) > 0 {
		n := alike(rs, those, most)
		r := renewal{op: s.renewalOf(rs, those[:n]), of: those[:n]}
		r.kind = renewing
		renewals, ops = append(renewals, r), append(ops, r.op)
		those = those[n:]
	}
	s.router.do(ctx, s.replicas > 0, ops...)
	for _, r := range renewals {
		if err := r.outcome(); len(r.of) > 1 && (redis.HasErrorPrefix(err, "CROSSSLOT") || redis.HasErrorPrefix(err, "ERR")) {
			doubtful = append(doubtful, r.of...)
			continue
		}
		for i, reply := range s.renewed(r.op, len(r.of)) {
			replies[r.of[i]] = reply
			if len(r.of) > 1 && reply.Err == nil && !reply.Held {
				doubtful = append(doubtful, r.of[i])
			}
		}
	}
	return doubtful
}

// alike counts the first requests, most at most, that one script can answer.
func alike(rs []lease.RenewRequest, those []int, most int) int {
	first := rs[those[0]]
	if first.Limit != lease.Exclusive || first.Fence > 0 {
		return 1
	}
	n := 1
	for n < min(most, len(those)) {
		r := rs[those[n]]
		if r.Limit != first.Limit || r.Fence > 0 || r.TTL != first.TTL {
			break
		}
		n++
	}
	return n
}

func (s *Store) renewalOf(rs []lease.RenewRequest, those []int) *op {
	r := rs[those[0]]
	switch {
	case r.Limit != lease.Exclusive:
		numbers := [...]int64{millis(r.TTL), 0, 0}
		return renewLimitScript.call(namesOf(s.prefix, r.Key), 3, []string{r.Owner}, numbers[:], s.argument(queueArgument{place: placeText(lease.Place{}, r.Limit)}))
	case r.Fence > 0:
		numbers := [...]int64{millis(r.TTL), r.Fence}
		return renewFenceScript.call(namesOf(s.prefix, r.Key), 4, []string{r.Owner}, numbers[:], "")
	case len(those) == 1:
		return renewScript.call(leaseOnly(s.prefix, r.Key), 1, []string{r.Owner}, []int64{millis(r.TTL)}, "")
	}
	args := make([]any, 0, 4+2*len(those))
	args = append(args, renewScript.byDigest, renewScript.arg, len(those))
	for _, i := range those {
		args = append(args, s.prefix+escapeCompanion(rs[i].Key))
	}
	owners := make([]string, len(those)) // rs is the caller's again if it does not wait for the answer
	for n, i := range those {
		owners[n] = rs[i].Owner
		args = append(args, &owners[n])
	}
	o := newOp(s.prefix+escapeCompanion(r.Key), append(args, millis(r.TTL))...)
	o.script = renewScript
	return o
}

// renewed returns what became of the n leases that a command was to renew.
func (s *Store) renewed(o *op, n int) []lease.RenewReply {
	replies := make([]lease.RenewReply, n)
	err := o.outcome()
	var values []any
	if err == nil {
		values, err = o.Slice()
	}
	if err == nil && len(values) != n {
		err = fmt.Errorf("script's reply has %d values for %d leases", len(values), n)
	}
	for i := range replies {
		if err != nil {
			replies[i].Err = err
			continue
		}
		replies[i], replies[i].Err = readRenewed(values[i])
		if replies[i].Held {
			replies[i].Err = s.checkAcks(o)
		}
		replies[i].Sent = o.final().sent
	}
	return replies
}
