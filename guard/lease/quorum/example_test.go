package quorum_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
	"github.com/jobguard/jobguard/guard/lease/quorum"
)

func Example() {
	// redisstore.New(client) for each of three servers in a real program.
	a, b, c := guardtest.NewStore(), guardtest.NewStore(), guardtest.NewStore()
	store, err := quorum.New(a, b, c)
	if err != nil {
		log.Fatal(err)
	}
	g, err := guard.New(store)
	if err != nil {
		log.Fatal(err)
	}
	down := errors.New("connection refused")
	a.Fail(down)
	err = g.Do(context.Background(), "payout:42", func(ctx context.Context) error {
		_, ok := guard.Fence(ctx)
		fmt.Println("one server is down; runs under a token:", ok)
		return nil
	})
	fmt.Println(err)

	b.Fail(down)
	err = g.With(guard.Wait(0)).Do(context.Background(), "payout:42", func(context.Context) error { return nil })
	fmt.Println("two are down:", errors.Is(err, guard.ErrUnavailable))
	// Output:
	// one server is down; runs under a token: true
	// <nil>
	// two are down: true
}
