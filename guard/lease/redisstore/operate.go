package redisstore

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jobguard/jobguard/guard/internal/backoff"
	"github.com/jobguard/jobguard/guard/lease"
)

// The errors of [Store.Revoke] and [Store.Break].
var (
	// ErrNoAnswer: a holder still has the key, and its process did not say that it was told.
	ErrNoAnswer = errors.New("the holder did not answer")
	// ErrForeign: another program's lock is under the key, or data of a type that no lock has.
	ErrForeign = errors.New("not a lease of jobguard")
	// ErrKeptClosed: the key has no holder; MinHold keeps it closed.
	ErrKeptClosed = errors.New("no run holds it: MinHold keeps it closed")
)

// revokeFor is how long Revoke asks holders that do not answer.
const revokeFor = 5 * time.Second

// Revoke tells each holder of key to stop: the context of its run ends at once, with cause
// guard.ErrRevoked and reason, and the lease is kept until fn has returned. Then the
// next in line starts, so runs do not overlap.
//
// It returns nil when each holder has said that it was told, or holds the key no more,
// and for a free key. A holder that does not answer is asked again, for 5 s or until
// ctx ends, also over a failover; then the error is [ErrNoAnswer]. The others were told. A
// holder does not hear before its lease is 100 ms old, nor without permission to subscribe.
// [ErrForeign] and [ErrKeptClosed] say that there is nobody to tell.
func (s *Store) Revoke(ctx context.Context, key, reason string) error {
	ctx, cancel := context.WithTimeout(ctx, revokeFor)
	defer cancel()
	r := revoking{names: withMark(s.prefix, "stop", key), reason: printableLine(reason)}
	var last error
	for tries := 1; ; tries++ {
		kind, value, err := s.ask(ctx, &r)
		switch {
		case refused(err):
			return fault(ctx, "revoke", err)
		case err == nil && kind == "foreign":
			return fmt.Errorf("redisstore: revoke: %w: %s", ErrForeign, lease.OwnerName(value))
		case err == nil && kind == "closed":
			return fmt.Errorf("redisstore: revoke: %w", ErrKeptClosed)
		case err == nil && (kind == "free" || r.told):
			return nil
		}
		if ctx.Err() == nil || !r.asked { // else ctx cut the last question off
			last = err
		}
		if !pause(ctx, backoff.Pause(tries, 5*time.Millisecond, 250*time.Millisecond)) {
			break
		}
	}
	if last != nil {
		return fault(ctx, "revoke", last)
	}
	return fmt.Errorf("redisstore: revoke: %w: %s", ErrNoAnswer, strings.Join(ownerNames(r.silent), ", "))
}

// revoking is a call of Revoke.
type revoking struct {
	names  *names
	reason string
	asked  bool     // the server has had the first question
	silent []string // owners that have not answered
	told   bool     // all have
}

// ask publishes the question to those that have not answered.
func (s *Store) ask(ctx context.Context, r *revoking) (kind, value string, _ error) {
	how := "first"
	if r.asked {
		how = "again\n" + strings.Join(r.silent, "\n")
	}
	o := revokeScript.call(r.names, 3, []string{r.reason, s.inboxes}, nil, how)
	s.router.do(ctx, false, o)
	if err := o.outcome(); err != nil {
		return "", "", err
	}
	values, err := o.Slice()
	reply := reader{values: values, err: err}
	kind, value = reply.text(), reply.text()
	r.silent = nil
	for reply.err == nil && len(reply.values) > 0 {
		r.silent = append(r.silent, reply.text())
	}
	r.told = r.asked && len(r.silent) == 0
	r.asked = true
	return kind, value, reply.err
}

// Break ends all leases of key at once, whoever has them, and grants the key to the
// head of the queue. It is for holders that are gone or deaf: a holder that is alive may run
// beside the next one until it hears of it: by a message, once its lease is 100 ms old, at the
// latest at its next renewal. Only its fencing token protects then; the next one is higher. Ask with [Store.Revoke] first.
//
// Break opens a key that MinHold keeps closed, and deletes another program's lock. A key
// of another type than a lock's is refused with [ErrForeign]. For a free key the error is nil.
//
// It is sent once, since a second time would end the lease of the next: after an error
// without an answer from the server see with [Store.Inspect] who has the key.
func (s *Store) Break(ctx context.Context, key string) error {
	numbers := [...]int64{0, 0, 0}
	argument := s.argument(queueArgument{place: "0,0,0"})
	o := breakScript.call(namesOf(s.prefix, key), 5, []string{""}, numbers[:], argument)
	o.once = true
	s.router.do(ctx, false, o)
	if err := o.outcome(); err != nil {
		return fault(ctx, "break", err)
	}
	values, err := o.Slice()
	r := reader{values: values, err: err}
	if kind, value := r.text(), r.text(); kind == "other" {
		return fmt.Errorf("redisstore: break: %w: the key is a %s", ErrForeign, value)
	}
	return r.err
}

// userKey is the key of a lease by its name on the server.
func (s *Store) userKey(name string) (key string, ok bool) {
	key, ok = strings.CutPrefix(name, s.prefix)
	return strings.TrimPrefix(key, escapePrefix), ok
}

// printableLine is s without control characters, which separate the parts of a message.
func printableLine(s string) string {
	return strings.Map(func(r rune) rune {
		if isControl(r) {
			return ' '
		}
		return r
	}, s)
}

func ownerNames(owners []string) []string {
	names := make([]string, len(owners))
	for i, owner := range owners {
		names[i] = lease.OwnerName(owner)
	}
	return names
}

// pause returns true after d, and false at once when ctx ends.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
