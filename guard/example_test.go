package guard_test

import (
	"context"
	"errors"
	"log"

	"github.com/redis/go-redis/v9"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/lease/redisstore"
)

func Example() {
	client := redis.NewClient(&redis.Options{Addr: "localhost:6379"})
	g, err := guard.New(redisstore.New(client))
	if err != nil {
		log.Fatal(err)
	}

	err = g.Do(context.Background(), guard.Key("order", "42"), func(ctx context.Context) error {
		// No other process of the fleet runs under this key now.
		return ship(ctx, "42")
	})
	switch {
	case errors.Is(err, guard.ErrBusy): // the key is held
	case errors.Is(err, guard.ErrLost): // the work may be partial
	case errors.Is(err, guard.ErrUnavailable): // Redis is down; the work did not start
	}
}

func ship(context.Context, string) error { return nil }
