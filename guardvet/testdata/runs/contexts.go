package runs

import (
	"context"
	"database/sql"
	"net/http"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"github.com/robfig/cron/v3"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/asynqmw"
	"github.com/jobguard/jobguard/guard/cronwrap"
	"github.com/jobguard/jobguard/guard/httpmw"
)

type shop struct {
	g     *guard.Guard
	db    *sql.DB
	rdb   *redis.Client
	cache map[string]string
}

func step(ctx context.Context) error { return ctx.Err() }

func outerContexts(ctx context.Context, g *guard.Guard, s *shop) {
	_ = g.Do(ctx, "k", func(inner context.Context) error {
		_ = step(inner)
		return step(ctx) // want `ctx comes from outside of the function that guard.Do runs: it does not end when the lease is lost`
	})
	_ = guard.Do(ctx, "k", func(context.Context) error { return step(ctx) })                      // want `ctx comes from outside`
	_ = g.DoAll(ctx, []string{"a"}, func(context.Context) error { return step(ctx) })             // want `guard.DoAll runs`
	_ = g.Lead(ctx, "k", func(context.Context) error { return step(ctx) })                        // want `guard.Lead runs`
	_, _ = guard.Value(ctx, g, "k", func(c context.Context) (int, error) { return 1, step(ctx) }) // want `guard.Value runs`
	_ = g.Do(ctx, "k", func(context.Context) error {
		short, cancel := context.WithTimeout(ctx, time.Second) // want `ctx comes from outside`
		defer cancel()
		return step(short)
	})
	_ = g.Do(ctx, "a", func(c context.Context) error {
		return g.Do(ctx, "b", step) // want `ctx comes from outside`
	})
	_ = g.Do(ctx, "k", func(c context.Context) error {
		_ = func() error { return step(ctx) }() // want `ctx comes from outside`
		return step(c)
	})
}

func handler(g *guard.Guard) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_ = g.Do(r.Context(), "k", func(ctx context.Context) error {
			return step(r.Context()) // want `r.Context\(\) comes from outside`
		})
	}
}

func goodContexts(ctx context.Context, g *guard.Guard, s *shop) {
	_ = g.Do(ctx, "k", step)
	_ = g.Do(ctx, "k", func(ctx context.Context) error { // shadows
		return step(ctx)
	})
	_ = g.Do(ctx, "k", func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, time.Second) // derived
		defer cancel()
		return func() error { return step(ctx) }()
	})
	_ = g.Do(ctx, "k", func(c context.Context) error {
		if err := step(c); err != nil {
			return err
		}
		return s.rdb.Set(context.WithoutCancel(c), "audit", "done", 0).Err() // a decision
	})
	_ = g.Do(ctx, "k", func(c context.Context) error {
		select {
		case <-ctx.Done(): // only looked at
			return context.Cause(ctx)
		default:
			return step(c)
		}
	})
	_ = g.Do(ctx, "a", func(a context.Context) error {
		return g.Do(a, "b", func(b context.Context) error { return step(b) })
	})
	_ = g.Do(ctx, "k", func(context.Context) error { // short, and no call takes a context
		s.cache["k"] = "v"
		return nil
	})
	var kept context.Context
	_ = g.Do(ctx, "k", func(c context.Context) error {
		kept = c
		return step(kept)
	})
}

func (s *shop) ignores(context.Context) error {
	return step(context.Background()) // want `the function that guard.Do runs ignores its context`
}

func ignoresNamed(_ context.Context) error {
	return step(context.TODO()) // want `ignores its context`
}

func ignoresGeneric[T any](_ context.Context) error {
	return step(context.TODO()) // want `ignores its context`
}

func (s *shop) heeds(ctx context.Context) error { return step(ctx) }

func named(ctx context.Context, s *shop, c *cron.Cron) {
	_ = s.g.Do(ctx, "k", s.ignores)
	_ = s.g.Do(ctx, "k", s.heeds)
	_ = s.g.Do(ctx, "k", ignoresNamed)
	_ = s.g.Do(ctx, "k", ignoresGeneric[int])
	fn := func(context.Context) error { return step(ctx) } // want `ctx comes from outside`
	_ = s.g.Do(ctx, "k", fn)
	_ = s.g.Do(ctx, "k", func(unused context.Context) error {
		return step(context.Background()) // want `ignores its context`
	})
	r, _ := cronwrap.New(c, s.g)
	_, _ = r.Add("@daily", "report", func(context.Context) error { return step(ctx) }) // want `cronwrap.Add runs`
}

func (s *shop) writes(ctx context.Context) {
	_ = s.g.Do(ctx, "k", func(ctx context.Context) error {
		_ = s.rdb.Get(context.Background(), "read").Err()
		return s.rdb.Set(context.Background(), "stock", 1, 0).Err() // want `a write to Redis in the function that guard.Do runs, with context.Background; use its own context`
	})
	_ = s.g.Do(ctx, "k", func(ctx context.Context) error {
		bg, cancel := context.WithTimeout(context.TODO(), time.Second)
		defer cancel()
		_, err := s.db.ExecContext(bg, "UPDATE stock SET n = 1") // want `a write to SQL .* with context.TODO`
		return err
	})
	_ = s.g.Do(ctx, "k", func(ctx context.Context) error {
		_, err := s.db.Exec("UPDATE stock SET n = 1") // want `without a context; use ExecContext with its own context`
		return err
	})
	_ = s.g.Do(ctx, "k", func(ctx context.Context) error {
		tx, err := s.db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, "UPDATE stock SET n = 1")
		return err
	})
	s.rdb.Set(context.Background(), "outside", 1, 0) // not under a lease
}

func adapters(s *shop, key asynqmw.KeyFunc, web httpmw.KeyFunc) {
	mw, _ := asynqmw.New(s.g, key)
	mux, plain := asynq.NewServeMux(), asynq.NewServeMux()
	mux.Use(mw.Handler)
	task := func(context.Context, *asynq.Task) error { return s.rdb.Incr(context.Background(), "n").Err() } // want `asynqmw.Handler runs, with context.Background`
	mux.HandleFunc("count", task)
	plain.HandleFunc("count", func(context.Context, *asynq.Task) error { return s.rdb.Incr(context.Background(), "n").Err() })
	mw.Handler(asynq.HandlerFunc(func(context.Context, *asynq.Task) error {
		return step(context.Background()) // want `asynqmw.Handler runs ignores its context`
	}))
	guarded := httpmw.New(s.g, web)
	guarded(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.rdb.Incr(context.Background(), "n") // want `a write to Redis in the function that httpmw runs`
		s.rdb.Incr(r.Context(), "n")
	}))
}
