package guard_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net/http"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
	"github.com/jobguard/jobguard/guard/lease/redisstore"
)

func Example() {
	client := redis.NewClient(&redis.Options{Addr: "localhost:6379", ContextTimeoutEnabled: true})
	g, err := guard.New(redisstore.New(client))
	if err != nil {
		log.Fatal(err)
	}

	err = g.Do(context.Background(), guard.Key("order", "42"), func(ctx context.Context) error {
		// Nobody else in the fleet runs under this key now.
		return ship(ctx, "42")
	})
	switch {
	case errors.Is(err, guard.ErrBusy): // somebody else has it
	case errors.Is(err, guard.ErrLost): // the work may be partial
	case errors.Is(err, guard.ErrUnavailable): // Redis is down; the work did not start
	}
}

func ship(context.Context, string) error { return nil }

func ExampleGuard_Do() {
	g, err := guard.New(guardtest.NewStore())
	if err != nil {
		log.Fatal(err)
	}
	err = g.Do(context.Background(), "report", func(ctx context.Context) error {
		fmt.Println("holding:", guard.Holding(ctx, "report"))
		return nil
	})
	fmt.Println("error:", err)
	// Output:
	// holding: true
	// error: <nil>
}

func ExampleFence() {
	var db *sql.DB
	var g *guard.Guard

	sell := func(ctx context.Context, sku string) error {
		return g.Do(ctx, guard.Key("stock", sku), func(ctx context.Context) error {
			token, ok := guard.Fence(ctx) // under DoAll: FenceOf(ctx, key)
			if !ok {
				return errors.New("no fencing token")
			}
			res, err := db.ExecContext(ctx,
				`UPDATE stock SET n = n - 1, fence = ? WHERE sku = ? AND fence <= ?`, token, sku, token)
			if err != nil {
				return err
			}
			if n, _ := res.RowsAffected(); n == 0 {
				return errors.New("a later holder was here: this run is stale")
			}
			return nil
		})
	}
	_ = sell
}

func ExampleGuard_With() {
	base, err := guard.New(guardtest.NewStore(), guard.TTL(15*time.Second))
	if err != nil {
		log.Fatal(err)
	}
	requests := base.With(guard.Wait(2*time.Second), guard.Name("checkout"))
	imports := base.With(guard.Wait(0), guard.MaxHold(time.Hour), guard.Name("import"))

	fmt.Println(requests.Do(context.Background(), "cart:7", nothing), imports.Do(context.Background(), "import", nothing))
	// Output: <nil> <nil>
}

func ExampleGuard_Lead() {
	g, err := guard.New(guardtest.NewStore())
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	err = g.Lead(ctx, "outbox-relay", func(ctx context.Context) error {
		fmt.Println("leading") // until the work is done or ctx ends
		return ctx.Err()
	})
	fmt.Println(err)
	// Output:
	// leading
	// <nil>
}

func ExampleGuard_DoAll() {
	g, err := guard.New(guardtest.NewStore())
	if err != nil {
		log.Fatal(err)
	}
	from, to := guard.Key("account", "a"), guard.Key("account", "b")
	err = g.DoAll(context.Background(), []string{from, to}, func(ctx context.Context) error {
		fmt.Println("holding both:", guard.Holding(ctx, from) && guard.Holding(ctx, to))
		return nil
	})
	fmt.Println(err)
	// Output:
	// holding both: true
	// <nil>
}

func ExampleError() {
	store := guardtest.NewStore()
	store.HoldFor("k", "deploy-script", time.Minute)
	g, err := guard.New(store, guard.Wait(0), guard.Observe(guard.LogObserver(slog.New(slog.DiscardHandler))))
	if err != nil {
		log.Fatal(err)
	}
	err = g.Do(context.Background(), "k", nothing)

	var e *guard.Error
	if errors.Is(err, guard.ErrBusy) && errors.As(err, &e) {
		fmt.Println(http.StatusConflict, "held by", e.Holder, "for at most", e.RetryAfter.Round(time.Minute))
	}
	// Output: 409 held by deploy-script for at most 1m0s
}

func ExampleGuard_Shutdown() {
	g, err := guard.New(guardtest.NewStore())
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := g.Shutdown(ctx); err != nil { // before the Redis client is closed
		log.Print(err)
	}
	fmt.Println(errors.Is(g.Do(context.Background(), "k", nothing), guard.ErrClosed))
	// Output: true
}
