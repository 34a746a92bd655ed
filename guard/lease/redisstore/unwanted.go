package redisstore

import (
	"context"
	"time"
)

const (
	unwantedTimeout = 10 * time.Second
	maxUnwanted     = 64 // given back at once; further grants last for their reservation
)

// giveBack releases a grant to an owner that is not here: its waiter left, but the
// release did not reach the server. It runs on a goroutine that ends by itself, after
// unwantedTimeout at the latest.
func (s *Store) giveBack(m message) {
	key, ok := s.userKey(m.lease)
	if !ok {
		return
	}
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
		_, _ = s.release(ctx, releasing{
			names: namesOf(s.prefix, key),
			owner: m.owner,
			text:  m.place,
		})
	}()
}
