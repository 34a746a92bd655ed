package redisstore

import (
	"context"
	"time"

	"github.com/jobguard/jobguard/guard/lease"
)

const (
	unwantedTimeout = 10 * time.Second
	maxUnwanted     = 16 // released at once; any more cost their reservation
)

// releaseUnwanted gives back a grant that came for an owner whom nobody watches:
// its waiter left, but its leaving did not reach the server. It runs on a
// goroutine that ends by itself, after unwantedTimeout at the latest.
func (s *Store) releaseUnwanted(owner string, e entry) {
	select {
	case s.unwanted <- struct{}{}:
	default:
		return
	}
	go func() {
		defer func() { <-s.unwanted }()
		ctx, cancel := context.WithTimeout(context.Background(), unwantedTimeout)
		defer cancel()
		// If this fails, the grant lapses.
		_, _ = s.Release(ctx, lease.ReleaseRequest{Key: e.key, Owner: owner, Limit: e.limit, Reservation: e.reservation})
	}()
}
