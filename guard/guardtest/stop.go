package guardtest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/jobguard/jobguard/guard/lease"
)

var _ lease.Stopper = (*Store)(nil)

// Listen implements [lease.Stopper]. heard is called on the goroutine that sends the
// message, before that call returns.
func (s *Store) Listen(heard func(lease.Stop) (told bool)) (end func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listeners == nil {
		s.listeners = make(map[int]func(lease.Stop) bool)
	}
	s.listened++
	n := s.listened
	s.listeners[n] = heard
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.listeners, n)
	}
}

// Revoke tells each holder of key to stop, as redisstore's Revoke does: the contexts of
// their runs have ended, with cause guard.ErrRevoked and reason, when it returns. A
// holder is told when its lease is 100 ms old; Revoke waits for that. The error is
// not nil if a holder has not heard after 5 s.
func (s *Store) Revoke(key, reason string) error {
	const pause, patience = 5 * time.Millisecond, 5 * time.Second
	owners := s.Holders(key)
	for waited := time.Duration(0); ; waited += pause {
		holders := s.Holders(key)
		owners = slices.DeleteFunc(owners, func(owner string) bool {
			return !slices.Contains(holders, owner) || s.tell(key, lease.Stop{Owner: owner, Kind: lease.Revoked, Text: reason})
		})
		switch {
		case len(owners) == 0:
			return nil
		case waited >= patience:
			return fmt.Errorf("guardtest: revoke %q: %w", key, errNoAnswer)
		}
		time.Sleep(pause)
	}
}

var errNoAnswer = errors.New("a holder did not answer")

// Break ends all leases of key now, as redisstore's Break does: the head of the queue
// is granted the key, and the holders are told that their leases are lost; one whose lease is
// younger than 100 ms is not told, and notices at its renewal.
func (s *Store) Break(key string) {
	owners := s.Holders(key)
	s.mu.Lock()
	k := s.stateLocked(key)
	k.holders = nil
	s.handOnLocked(key, k, "")
	s.tidyLocked(key)
	wakes := s.wakes
	s.wakes = nil
	s.mu.Unlock()
	for _, wake := range wakes {
		wake()
	}
	for _, owner := range owners {
		s.tell(key, lease.Stop{Owner: owner, Kind: lease.Broken})
	}
}

// tell sends a message, and reports whether the owner's run was told.
func (s *Store) tell(key string, stop lease.Stop) (told bool) {
	s.mu.Lock()
	s.calls[OpStop]++
	if s.takeFaultLocked(OpStop, key) != nil {
		s.mu.Unlock()
		return false
	}
	all := slices.Collect(maps.Values(s.listeners))
	s.mu.Unlock()
	for _, heard := range all {
		told = heard(stop) || told
	}
	return told
}

// Replace implements [lease.Stopper].
func (s *Store) Replace(ctx context.Context, r lease.ReplaceRequest) (reply lease.ReplaceReply, _ error) {
	var owners []string
	err := s.call(ctx, OpReplace, []string{r.Key}, func(int) {
		latest := s.turns[r.Key]
		if reply = (lease.ReplaceReply{Turn: r.Turn, Superseded: r.Turn > 0 && r.Turn < latest}); reply.Superseded {
			return
		}
		if reply.Turn == 0 {
			reply.Turn = latest + 1
		}
		if s.turns == nil {
			s.turns = make(map[string]int64)
		}
		s.turns[r.Key] = reply.Turn
		for _, h := range s.stateLocked(r.Key).holders {
			if h.owner != r.Owner {
				owners = append(owners, h.owner)
			}
		}
		s.tidyLocked(r.Key)
	})[0]
	for _, owner := range owners {
		s.tell(r.Key, lease.Stop{Owner: owner, Kind: lease.Replaced})
	}
	return reply, err
}
