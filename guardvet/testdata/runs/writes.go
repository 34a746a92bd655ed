package runs

import (
	"context"
	"database/sql"
	"net/http"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jmoiron/sqlx"
	"github.com/redis/go-redis/v9"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/cronwrap"
	"github.com/jobguard/jobguard/guard/httpmw"
	"github.com/jobguard/jobguard/guard/journal"
)

func onRecord(ctx context.Context, j *journal.Journal, pool *pgxpool.Pool, conn *pgx.Conn) {
	_ = j.Do(ctx, "k", journal.Op{Kind: "pay"}, func(c context.Context) error {
		_, err := pool.Exec(context.Background(), "UPDATE stock SET n = 1") // want `a write to SQL in the function that journal.Do runs, with context.Background`
		_ = step(ctx)                                                       // want `ctx comes from outside of the function that journal.Do runs`
		return err
	})
	j.Handle("pay", func(c context.Context, r journal.Record) error {
		tx, err := conn.Begin(context.TODO()) // want `a write to SQL in the function that journal.Handle runs, with context.TODO`
		if err != nil {
			return err
		}
		return tx.Commit(c)
	})
	j.Handle("refund", func(context.Context, journal.Record) error {
		return step(context.Background()) // want `journal.Handle runs ignores its context`
	})
	_ = j.Do(ctx, "k", journal.Op{Kind: "pay"}, func(c context.Context) error {
		_ = pool.QueryRow(context.Background(), "SELECT 1")
		_, err := pool.Exec(c, "UPDATE stock SET n = 1")
		return err
	})
}

func onSQLX(ctx context.Context, g *guard.Guard, db *sqlx.DB, stmt *sql.Stmt) {
	_ = g.DoAll(ctx, []string{"a", "b"}, func(c context.Context) error {
		_, err := db.NamedExecContext(context.Background(), "UPDATE stock SET n = :n", 1) // want `guard.DoAll runs, with context.Background`
		_ = step(c)
		return err
	})
	_ = g.Lead(ctx, "k", func(c context.Context) error {
		_, err := db.NamedExec("UPDATE stock SET n = :n", 1) // want `guard.Lead runs, without a context; use NamedExecContext with`
		_ = step(c)
		return err
	})
	_, _ = guard.Value(ctx, g, "k", func(c context.Context) (int, error) {
		db.MustExec("UPDATE stock SET n = 1")   // want `guard.Value runs, without a context; use MustExecContext with`
		_, err := db.Beginx()                   // want `without a context; use BeginTxx with`
		_, _ = db.BeginTxx(context.TODO(), nil) // want `with context.TODO`
		_, _ = stmt.Exec(1)                     // want `without a context; use ExecContext with`
		_ = step(c)
		return 1, err
	})
	_ = guard.Do(ctx, "k", func(c context.Context) error {
		tx, err := db.BeginTxx(c, nil)
		if err != nil {
			return err
		}
		_, err = tx.NamedExecContext(c, "UPDATE stock SET n = :n", 1)
		_ = db.Get(new(int), "SELECT 1") // a read
		return err
	})
}

func onSchedule(ctx context.Context, r *cronwrap.Runner, rdb *redis.Client) {
	_, _ = r.Add("@daily", "report", func(c context.Context) error {
		_ = step(c)
		return rdb.ZRangeStore(context.Background(), "a", redis.ZRangeArgs{}).Err() // want `a write to Redis in the function that cronwrap.Add runs`
	})
}

func reads(ctx context.Context, g *guard.Guard, rdb *redis.Client) {
	_ = g.Do(ctx, "k", func(c context.Context) error {
		bg := context.Background()
		rdb.ExpireTime(bg, "k")
		rdb.BitCount(bg, "k", nil)
		rdb.SInter(bg, "a", "b")
		rdb.ZMScore(bg, "z", "a")
		rdb.SMIsMember(bg, "s", "a")
		rdb.PFCount(bg, "p")
		rdb.GeoSearch(bg, "g", nil)
		rdb.MemoryUsage(bg, "k")
		rdb.ObjectIdleTime(bg, "k")
		rdb.SlowLogGet(bg, 1)
		rdb.SInterStore(bg, "to", "a", "b")    // want `a write to Redis`
		rdb.GeoSearchStore(bg, "g", "to", nil) // want `a write to Redis`
		return step(c)
	})
}

func middleware(g *guard.Guard, key httpmw.KeyFunc, db *sqlx.DB) http.Handler {
	protect := httpmw.New(g, key)
	return protect(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = db.ExecContext(context.Background(), "UPDATE stock SET n = 1") // want `a write to SQL in the function that httpmw runs`
		_, _ = db.ExecContext(r.Context(), "UPDATE stock SET n = 1")
		db.MustExec("UPDATE stock SET n = 1") // want `without a context; use MustExecContext`
	}))
}
