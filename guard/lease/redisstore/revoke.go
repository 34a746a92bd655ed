package redisstore

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jobguard/jobguard/guard/internal/backoff"
	"github.com/jobguard/jobguard/guard/lease"
)

const (
	// revokeFor is how long Revoke asks holders that do not answer.
	revokeFor = 5 * time.Second
	// answersLate is how long after the end of a lease its holder's answer may come: a run
	// that returns at once is released before the answer arrives.
	answersLate = 500 * time.Millisecond
)

// Revoke tells each holder of key to stop: the context of its run ends at once, with cause
// guard.ErrRevoked and reason, and the lease is kept until fn has returned. Then the
// next in line starts, so runs do not overlap.
//
// It returns nil when each holder has said that it was told, or holds the key no more
// ([Store.RevokeHolder] tells the two apart), and for a free key. A holder that does not answer
// is asked again, for 5 s or until
// ctx ends, also over a failover; then the error is [ErrNoAnswer]. The others were told. A
// holder does not hear before its lease is 100 ms old, nor without permission to subscribe.
// [ErrForeign] and [ErrKeptClosed] say that there is nobody to tell.
func (s *Store) Revoke(ctx context.Context, key, reason string) error {
	_, err := s.revoke(ctx, lease.Order{Key: key, Reason: reason}, 0)
	return err
}

// RevokeHolder is [Store.Revoke] for the holders that o names, and says who was told and whose
// lease ended without an answer: a process that is stopped, or cut off, heard nothing, and its fn may
// go on. For the answer of one whose lease has ended it waits half a second. [ErrOtherHolder] says
// that others hold the key: they are told nothing.
func (s *Store) RevokeHolder(ctx context.Context, o lease.Order) (lease.Outcome, error) {
	return s.revoke(ctx, o, answersLate)
}

// revoke waits for an answer for so long after a lease has ended.
func (s *Store) revoke(ctx context.Context, o lease.Order, late time.Duration) (lease.Outcome, error) {
	ctx, cancel := context.WithTimeout(ctx, revokeFor)
	defer cancel()
	r := revoking{names: withMark(s.prefix, "stop", o.Key), holder: o.Holder, reason: printableLine(o.Reason)}
	var last error
	var over time.Time // since when none of those that have not answered has the key
	for tries := 1; ; tries++ {
		kind, value, err := s.ask(ctx, &r)
		switch {
		case refused(err):
			return r.outcome(), fault(ctx, "revoke", err)
		case err != nil:
		case len(r.asked) == 0:
			return lease.Outcome{}, nobodyToTell(kind, value)
		case len(r.silent) == 0:
			if over.IsZero() {
				over = time.Now()
			}
			if len(r.ended) == 0 || time.Since(over) >= late {
				return r.outcome(), nil
			}
		}
		if ctx.Err() == nil || len(r.asked) == 0 { // else ctx cut the last question off
			last = err
		}
		if !pause(ctx, backoff.Pause(tries, 5*time.Millisecond, 250*time.Millisecond)) {
			break
		}
	}
	switch {
	case last != nil:
		return r.outcome(), fault(ctx, "revoke", last)
	case !over.IsZero():
		return r.outcome(), nil
	}
	return r.outcome(), fmt.Errorf("redisstore: revoke: %w: %s", ErrNoAnswer, strings.Join(ownerNames(r.silent), ", "))
}

// nobodyToTell is why the first question reached nobody; nil if the key is free.
func nobodyToTell(kind, value string) error {
	err := map[string]error{"foreign": ErrForeign, "another": ErrOtherHolder, "closed": ErrKeptClosed}[kind]
	switch {
	case err == nil:
		return nil
	case kind == "closed":
		return fmt.Errorf("redisstore: revoke: %w", err)
	}
	return fmt.Errorf("redisstore: revoke: %w: %s", err, lease.OwnerName(value))
}

// revoking is a call of revoke.
type revoking struct {
	names  *names
	holder string
	reason string
	asked  []string // the owners that the first question was for
	silent []string // of these, those that hold the key and have not answered
	ended  []string // and those that hold it no more, and had not answered
}

func (r *revoking) outcome() lease.Outcome {
	silent := slices.Concat(r.silent, r.ended)
	return lease.Outcome{Told: holdersOf(without(r.asked, silent)), Silent: holdersOf(silent)}
}

// ask publishes the question to those that have not answered.
func (s *Store) ask(ctx context.Context, r *revoking) (kind, value string, _ error) {
	how := "first\n" + r.holder
	if len(r.asked) > 0 {
		how = "again\n" + strings.Join(slices.Concat(r.silent, r.ended), "\n")
	}
	o := revokeScript.call(r.names, 3, []string{r.reason, s.inboxes}, nil, how)
	s.router.do(ctx, false, o)
	if err := o.outcome(); err != nil {
		return "", "", err
	}
	values, err := o.Slice()
	reply := reader{values: values, err: err}
	kind, value = reply.text(), reply.text()
	holding := reply.integer()
	var owners []string
	for reply.err == nil && len(reply.values) > 0 {
		owners = append(owners, reply.text())
	}
	if reply.err != nil || holding < 0 || holding > int64(len(owners)) {
		return "", "", fmt.Errorf("unexpected reply %v: %w", values, reply.err)
	}
	r.silent, r.ended = owners[:holding:holding], owners[holding:]
	if len(r.asked) == 0 {
		r.asked = r.silent
	}
	return kind, value, nil
}
