package redisstore

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jobguard/jobguard/guard/internal/backoff"
	"github.com/jobguard/jobguard/guard/lease"
)

// tellFor is how long Break tells a holder that does not answer: one listens when its lease is
// 100 ms old, and then subscribes.
const tellFor = 500 * time.Millisecond

// Break ends all leases of key at once, whoever has them, and grants the key to the
// head of the queue. It is for holders that are gone or deaf: a holder that is alive may run
// beside the next one until it hears of it: by a message, once its lease is 100 ms old, at the
// latest at its next renewal. Only its fencing token protects then; the next one is higher. Ask with [Store.Revoke] first.
//
// The leases have ended and the next one is let in before any holder is waited for. Then holders
// that do not say that they were told are told again, for half a second or until ctx ends;
// [Store.BreakHolder] says who they are.
//
// Break opens a key that MinHold keeps closed, and deletes another program's lock. A key
// of another type than a lock's is refused with [ErrForeign]. For a free key the error is nil.
//
// It is sent once, since a second time would end the lease of the next: after an error
// without an answer from the server see with [Store.Inspect] who has the key.
func (s *Store) Break(ctx context.Context, key string) error {
	_, err := s.BreakHolder(ctx, lease.Order{Key: key})
	return err
}

// BreakHolder is [Store.Break] for the leases that o names; others that share the key keep theirs.
// [ErrOtherHolder] says that others hold the key: nothing was done. The server compares and
// breaks in one step.
func (s *Store) BreakHolder(ctx context.Context, o lease.Order) (lease.Outcome, error) {
	names := namesOf(s.prefix, o.Key)
	names.all[5] = names.mark(s.prefix, "stop")
	numbers := [...]int64{0, 0, 0}
	argument := s.argument(queueArgument{place: "0,0,0"})
	sent := breakScript.call(names, 6, []string{o.Holder}, numbers[:], argument)
	sent.once = true
	s.router.do(ctx, false, sent)
	if err := sent.outcome(); err != nil {
		return lease.Outcome{}, fault(ctx, "break", err)
	}
	values, err := sent.Slice()
	r := reader{values: values, err: err}
	switch kind, value := r.text(), r.text(); kind {
	case "other":
		return lease.Outcome{}, fmt.Errorf("redisstore: break: %w: the key is a %s", ErrForeign, value)
	case "another":
		return lease.Outcome{}, fmt.Errorf("redisstore: break: %w: %s", ErrOtherHolder, lease.OwnerName(value))
	}
	var owners []string
	for r.err == nil && len(r.values) > 0 {
		owners = append(owners, r.text())
	}
	if r.err != nil {
		return lease.Outcome{}, r.err
	}
	silent := s.tellBroken(ctx, o.Key, owners)
	return lease.Outcome{Told: holdersOf(without(owners, silent)), Silent: holdersOf(silent)}, nil
}

// tellBroken tells owners that their leases were broken, and returns those that have not answered
// after tellFor, or when ctx ends.
func (s *Store) tellBroken(ctx context.Context, key string, owners []string) (silent []string) {
	ctx, cancel := context.WithTimeout(ctx, tellFor)
	defer cancel()
	var told []string // by a message; others have no inbox
	for _, owner := range owners {
		if lease.OwnerProcess(owner) != "" {
			told = append(told, owner)
		}
	}
	deaf := without(owners, told)
	names := withMark(s.prefix, "stop", key)
	for tries := 1; len(told) > 0 && pause(ctx, backoff.Pause(tries, 5*time.Millisecond, 100*time.Millisecond)); tries++ {
		o := brokenScript.call(names, 3, []string{s.inboxes, strings.Join(told, "\n")}, nil, "")
		s.router.do(ctx, false, o)
		if o.outcome() != nil {
			continue
		}
		values, err := o.Slice()
		r := reader{values: values, err: err}
		var left []string
		for r.err == nil && len(r.values) > 0 {
			left = append(left, r.text())
		}
		if r.err == nil {
			told = left
		}
	}
	return append(deaf, told...)
}
