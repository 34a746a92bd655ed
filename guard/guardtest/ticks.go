package guardtest

import (
	"context"
	"time"

	"github.com/jobguard/jobguard/guard/lease"
)

var _ lease.TickStore = (*Store)(nil)

// The calls of [lease.TickStore].
const (
	OpLastTick  Op = "last tick"
	OpClaimTick Op = "claim tick"
	OpEndTick   Op = "end tick"
)

// LastTick implements [lease.TickStore].
func (s *Store) LastTick(ctx context.Context, key string) (lease.Tick, error) {
	var tick lease.Tick
	err := s.call(ctx, OpLastTick, []string{key}, func(int) { tick = s.ticks[key] })[0]
	if err != nil {
		return lease.Tick{}, err
	}
	return tick, nil
}

// ClaimTick implements [lease.TickStore].
func (s *Store) ClaimTick(ctx context.Context, r lease.TickRequest) (lease.TickReply, error) {
	var reply lease.TickReply
	err := s.call(ctx, OpClaimTick, []string{r.Key}, func(int) { reply = s.claimTickLocked(r) })[0]
	if err != nil {
		return lease.TickReply{}, err
	}
	return reply, nil
}

// EndTick implements [lease.TickStore].
func (s *Store) EndTick(ctx context.Context, r lease.TickEnd) (bool, error) {
	var ended bool
	err := s.call(ctx, OpEndTick, []string{r.Key}, func(int) { ended = s.endTickLocked(r) })[0]
	if err != nil {
		return false, err
	}
	return ended, nil
}

func (s *Store) claimTickLocked(r lease.TickRequest) lease.TickReply {
	at, last := micros(r.At), s.ticks[r.Key]
	none, later := last.At.IsZero(), at.After(last.At)
	var open bool
	switch {
	case none:
		open = true
	case later:
		open = (r.Fence == 0 || r.Fence >= last.Fence) && (last.Done || !r.Rerun || r.Fence == last.Fence)
	default:
		open = at.Equal(last.At) && !last.Done && (r.Owner == last.Owner || r.Rerun && r.Fence > last.Fence)
	}
	if !open {
		return lease.TickReply{Last: last}
	}
	if ahead := time.Until(at); (none || later) && r.MaxAhead >= 0 && ahead > r.MaxAhead {
		return lease.TickReply{Ahead: ahead}
	}
	if s.ticks == nil {
		s.ticks = make(map[string]lease.Tick)
	}
	next := lease.Tick{At: at, Owner: r.Owner, Fence: r.Fence, Attempts: 1, Since: last.Since, Dead: last.Dead}
	if later && !none && r.Gap {
		next.Since = at
	}
	switch same := !none && !later; {
	case same && r.Owner == last.Owner:
		next.Attempts, next.Left = last.Attempts, last.Left
	case r.Attempts > 0:
		next.Attempts = r.Attempts
	case same:
		next.Attempts = last.Attempts + 1
	}
	s.ticks[r.Key] = next
	return lease.TickReply{Claimed: true}
}

func (s *Store) endTickLocked(r lease.TickEnd) bool {
	last := s.ticks[r.Key]
	if at := micros(r.At); last.At.IsZero() || !last.At.Equal(at) || last.Owner != r.Owner {
		return false
	}
	if r.Again {
		if !last.Left {
			last.Attempts, last.Left = last.Attempts-1, true
			s.ticks[r.Key] = last
		}
		return true
	}
	last.Done = true
	if r.Dead {
		last.Dead = last.At
	}
	through := micros(r.Through)
	if settled := micros(time.Now().Add(-r.Settled)); through.After(settled) {
		through = settled
	}
	if through.After(last.At) {
		last.At = through
	}
	s.ticks[r.Key] = last
	return true
}

// micros is t as a server keeps it.
func micros(t time.Time) time.Time { return time.UnixMicro(t.UnixMicro()) }
