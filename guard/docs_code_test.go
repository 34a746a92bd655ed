package guard_test

import (
	"context"
	"database/sql"

	"github.com/redis/go-redis/v9"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/journal"
	"github.com/jobguard/jobguard/guard/journal/redislog"
	"github.com/jobguard/jobguard/guard/journal/sqllog"
	"github.com/jobguard/jobguard/guard/lease"
	"github.com/jobguard/jobguard/guard/lease/quorum"
	"github.com/jobguard/jobguard/guard/lease/redisstore"
	"github.com/jobguard/jobguard/guard/sqlfence"
)

// What the docs of packages show in passing, and no example has as it is there. It is
// compiled only; TestCodeInDocsOfPackagesIsCompiled compares.

var _ = func(ctx context.Context, id string, ship func(context.Context, string) error) error {
	store := redisstore.New(redis.NewClient(&redis.Options{Addr: "localhost:6379"}))
	g, err := guard.New(store)
	if err != nil {
		return err
	}
	err = g.Do(ctx, guard.Key("order", id), func(ctx context.Context) error {
		return ship(ctx, id)
	})
	return err
}

var _ = func() (*journal.Journal, error) {
	client := redis.NewClient(&redis.Options{Addr: "localhost:6379"})
	g, err := guard.New(redisstore.New(client))
	if err != nil {
		return nil, err
	}
	j, err := journal.New(g, redislog.New(client))
	return j, err
}

var _ = func(ctx context.Context, j *journal.Journal, id string, order []byte, charge, refund func(context.Context, string, []byte) error) (err error) {
	j.Handle("charge", func(ctx context.Context, r journal.Record) error {
		return refund(ctx, r.ID, r.Payload)
	})
	go j.Run(ctx)
	err = j.Do(ctx, guard.Key("order", id), journal.Op{Kind: "charge", Payload: order}, func(ctx context.Context) error {
		return charge(ctx, journal.ID(ctx), order)
	})
	return err
}

var _ = func(ctx context.Context, g *guard.Guard, dsn string, order []byte, cents, id int) error {
	db, err := sql.Open("pgx", dsn)
	if err != nil {
		return err
	}
	log, err := sqllog.New(db, sqlfence.Postgres)
	if err != nil {
		return err
	}
	err = log.Migrate(ctx)
	if err != nil {
		return err
	}
	j, err := journal.New(g, log)
	if err != nil {
		return err
	}
	err = j.Do(ctx, "account:1", journal.Op{Kind: "charge", Payload: order}, func(ctx context.Context) error {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		defer tx.Rollback()
		if err := sqllog.Done(ctx, tx); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "UPDATE accounts SET cents = cents - $1 WHERE id = $2", cents, id); err != nil {
			return err
		}
		return tx.Commit()
	})
	return err
}

var _ = func() (*guard.Guard, error) {
	var stores []lease.Store
	for _, addr := range []string{"redis-a:6379", "redis-b:6379", "redis-c:6379"} {
		stores = append(stores, redisstore.New(redis.NewClient(&redis.Options{Addr: addr})))
	}
	store, err := quorum.New(stores...)
	if err != nil {
		return nil, err
	}
	g, err := guard.New(store)
	return g, err
}

var _ = func(ctx context.Context, g *guard.Guard, db *sql.DB, sku string, errNoSuchSKU error) (_ *sqlfence.Fence, err error) {
	fences, err := sqlfence.New(sqlfence.Postgres)
	if err != nil {
		return nil, err
	}
	key := guard.Key("stock", sku)
	err = g.Do(ctx, key, func(ctx context.Context) error {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		defer func() { _ = tx.Rollback() }()
		if err := fences.Seal(ctx, tx, key); err != nil {
			return err
		}
		res, err := tx.ExecContext(ctx, `UPDATE stock SET n = n - 1 WHERE sku = $1`, sku)
		if err != nil {
			return err
		}
		if n, _ := res.RowsAffected(); n == 0 {
			return errNoSuchSKU
		}
		return tx.Commit()
	})
	return fences, err
}
