package redisstore

import (
	"context"
	"time"

	"github.com/jobguard/jobguard/guard/lease"
)

const (
	unwantedTimeout = 10 * time.Second
	maxUnwanted     = 16 // released at once; further grants last for their reservation
)

// releaseUnwanted releases a grant to an owner without a watch: its waiter left, but
// the release did not reach the server. It runs on a goroutine that ends by itself,
// after unwantedTimeout at the latest.
func (s *Store) releaseUnwanted(owner string, c candidate) {
	select {
	case s.unwanted <- struct{}{}:
	default:
		return
	}
	go func() {
		defer func() { <-s.unwanted }()
		ctx, cancel := context.WithTimeout(context.Background(), unwantedTimeout)
		defer cancel()
		// If this fails, the reservation expires.
		_, _ = s.Release(ctx, lease.ReleaseRequest{Key: c.key, Owner: owner, Limit: c.limit, Reservation: c.reservation})
	}()
}
