package redisstore

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/jobguard/jobguard/guard/lease"
)

var _ lease.TickStore = (*Store)(nil)

// tickName is the Redis key of a user key's last tick: a hash in the slot of the
// lease that expires 400 days after the last claim. No user key names it: see companion.
func tickName(prefix, key string) *names {
	key = escapeCompanion(key)
	return only(prefix + "tick:{" + tags()[slotOf(prefix+key)] + "}:" + key)
}

// LastTick implements [lease.TickStore].
func (s *Store) LastTick(ctx context.Context, key string) (lease.Tick, error) {
	n := tickName(s.prefix, key)
	name := n.lease()
	o := newOp(name, "hmget", name, "tick", "done", "owner", "fence", "attempts", "since", "dead", "again")
	s.router.do(ctx, false, o)
	err := o.outcome()
	if err == nil {
		var tick lease.Tick
		if tick, err = readTick(o); err == nil {
			return tick, nil
		}
	}
	return lease.Tick{}, fault(ctx, "last tick", err)
}

// ClaimTick implements [lease.TickStore]. With [ReplicaAck] a claim that too few
// replicas acknowledge is an error.
func (s *Store) ClaimTick(ctx context.Context, r lease.TickRequest) (lease.TickReply, error) {
	ahead := int64(-1)
	if r.MaxAhead >= 0 {
		ahead = r.MaxAhead.Microseconds()
	}
	how := ""
	if r.Rerun {
		how = "rerun "
	}
	if r.Gap {
		how += "gap "
	}
	if r.Attempts > 0 {
		how += "=" + strconv.Itoa(r.Attempts)
	}
	numbers := [...]int64{r.At.UnixMicro(), ahead, r.Fence}
	o := tickClaimScript.call(tickName(s.prefix, r.Key), 1, []string{r.Owner}, numbers[:], how)
	s.router.do(ctx, s.replicas > 0, o)
	err := o.outcome()
	if err == nil {
		var reply lease.TickReply
		if reply, err = readClaim(o); err == nil && reply.Claimed {
			err = s.checkAcks(o)
		}
		if err == nil {
			return reply, nil
		}
	}
	return lease.TickReply{}, fault(ctx, "claim tick", err)
}

// EndTick implements [lease.TickStore].
func (s *Store) EndTick(ctx context.Context, r lease.TickEnd) (bool, error) {
	through := r.At
	if r.Through.After(through) {
		through = r.Through
	}
	how := ""
	switch {
	case r.Again:
		how = "again"
	case r.Dead:
		how = "dead"
	}
	numbers := [...]int64{r.At.UnixMicro(), through.UnixMicro(), r.Settled.Microseconds()}
	o := tickEndScript.call(tickName(s.prefix, r.Key), 1, []string{r.Owner}, numbers[:], how)
	s.router.do(ctx, false, o)
	err := o.outcome()
	if err == nil {
		var n int64
		if n, err = o.Int64(); err == nil {
			return n == 1, nil
		}
	}
	return false, fault(ctx, "end tick", err)
}

// The first number of tick_claim.lua's reply.
const (
	tickRefused = 0
	tickClaimed = 1
	tickAhead   = 2
)

func readClaim(o *op) (lease.TickReply, error) {
	values, err := o.Slice()
	if err != nil {
		return lease.TickReply{}, err
	}
	r := reader{values: values}
	switch r.integer() {
	case tickClaimed:
		return lease.TickReply{Claimed: true}, r.err
	case tickAhead:
		return lease.TickReply{Ahead: time.Duration(r.integer()) * time.Microsecond}, r.err
	}
	last := lease.Tick{At: time.UnixMicro(r.integer()), Done: r.integer() == 1, Owner: r.text(), Fence: r.integer()}
	return lease.TickReply{Last: last}, r.err
}

// readTick parses a reply of HMGET: texts, or nils for what is not stored.
func readTick(o *op) (lease.Tick, error) {
	values, err := o.Slice()
	if err != nil {
		return lease.Tick{}, err
	}
	if len(values) > 0 && values[0] == nil {
		return lease.Tick{}, nil
	}
	r := reader{values: values}
	tick := lease.Tick{At: time.UnixMicro(r.number()), Done: r.text() == "1", Owner: r.text(), Fence: r.number()}
	counted := len(r.values) > 0 && r.values[0] != nil
	if tick.Attempts = int(r.number()); !counted { // by an older version
		tick.Attempts = 1
	}
	tick.Since, tick.Dead = r.micros(), r.micros()
	tick.Left = len(r.values) > 0 && r.values[0] == any(tick.Owner)
	if r.err != nil {
		return lease.Tick{}, fmt.Errorf("the stored tick: %w", r.err)
	}
	return tick, nil
}

// number parses a number that the server sends as text, as HMGET does; 0 for nil.
func (r *reader) number() (n int64) {
	if len(r.values) > 0 && r.values[0] == nil {
		r.values = r.values[1:]
		return 0
	}
	text := r.text()
	if r.err == nil {
		n, r.err = strconv.ParseInt(text, 10, 64)
	}
	return n
}

// micros parses a time in µs since 1970; the zero Time for nil.
func (r *reader) micros() time.Time {
	if n := r.number(); n != 0 {
		return time.UnixMicro(n)
	}
	return time.Time{}
}
