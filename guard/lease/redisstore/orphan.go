package redisstore

import (
	"context"
	"time"

	"github.com/jobguard/jobguard/guard/lease"
)

const (
	orphanTimeout = 10 * time.Second
	maxOrphans    = 16 // released at once; any more cost their claim time
)

// releaseOrphan gives back a grant that came for an owner whom nobody watches:
// its waiter left, but its leaving did not reach the server. It runs on a
// goroutine that ends by itself, after orphanTimeout at the latest.
func (s *Store) releaseOrphan(owner string, p place) {
	select {
	case s.orphans <- struct{}{}:
	default:
		return
	}
	go func() {
		defer func() { <-s.orphans }()
		ctx, cancel := context.WithTimeout(context.Background(), orphanTimeout)
		defer cancel()
		// If this fails, the grant lapses.
		_, _ = s.Release(ctx, lease.ReleaseRequest{Key: p.key, Owner: owner, Room: p.room, Claim: p.claim})
	}()
}
