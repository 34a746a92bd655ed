package redisstore

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

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

// ErrOtherHolder is that others hold the key than the one that an order names.
var ErrOtherHolder = lease.ErrOtherHolder

var _ lease.HolderOperator = (*Store)(nil)

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

// holdersOf are those of owner ids, which may hold nothing by now.
func holdersOf(owners []string) []lease.Holder {
	var all []lease.Holder
	for _, owner := range owners {
		all = append(all, lease.HolderOf(owner, 0))
	}
	return all
}

// without is all less those in some.
func without(all, some []string) []string {
	has := make(map[string]bool, len(some))
	for _, owner := range some {
		has[owner] = true
	}
	return slices.DeleteFunc(slices.Clone(all), func(owner string) bool { return has[owner] })
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
