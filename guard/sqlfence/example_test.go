package sqlfence_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/sqlfence"
)

var errNoSuchSKU = errors.New("no such sku")

func Example() {
	var db *sql.DB
	var g *guard.Guard

	fences, err := sqlfence.New(sqlfence.Postgres)
	if err != nil {
		log.Fatal(err)
	}
	if err := fences.Migrate(context.Background(), db); err != nil { // makes its table if there is none
		log.Fatal(err)
	}
	sell := func(ctx context.Context, sku string) error {
		key := guard.Key("stock", sku)
		return g.Do(ctx, key, func(ctx context.Context) error {
			tx, err := db.BeginTx(ctx, nil) // fn's ctx
			if err != nil {
				return err
			}
			defer func() { _ = tx.Rollback() }() // nothing after Commit
			if err := fences.Seal(ctx, tx, key); err != nil {
				return err // sqlfence.ErrStale: a later run was here
			}
			res, err := tx.ExecContext(ctx, `UPDATE stock SET n = n - 1 WHERE sku = $1`, sku)
			if err != nil {
				return err
			}
			if n, _ := res.RowsAffected(); n == 0 {
				return errNoSuchSKU // the token is not stale: Seal would have told
			}
			return tx.Commit()
		})
	}
	_ = sell
}

// Under REPEATABLE READ and SERIALIZABLE the database may want even the rightful run to
// begin its transaction again.
func ExampleFence_Seal_retry() {
	var db *sql.DB
	var fences *sqlfence.Fence

	// SQLState is a method of PostgreSQL's errors, in pgx and in lib/pq.
	retryable := func(err error) bool {
		var state interface{ SQLState() string }
		return errors.As(err, &state) && (state.SQLState() == "40001" || state.SQLState() == "40P01")
	}
	// transfer is called by fn with its ctx.
	transfer := func(ctx context.Context, work func(*sql.Tx) error) error {
		once := func() error {
			tx, err := db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelSerializable})
			if err != nil {
				return err
			}
			defer func() { _ = tx.Rollback() }() // nothing after Commit
			if err := fences.Seal(ctx, tx, "account:7"); err != nil {
				return err
			}
			if err := work(tx); err != nil {
				return err
			}
			return tx.Commit()
		}
		err := once()
		for retryable(err) && ctx.Err() == nil {
			err = once()
		}
		return err
	}
	_ = transfer
}

func ExampleStaleError() {
	err := error(&sqlfence.StaleError{Resource: "order:42", Token: 1795000000000001, Newest: 1795000000000009})
	var stale *sqlfence.StaleError
	fmt.Println(errors.Is(err, sqlfence.ErrStale), errors.As(err, &stale))
	fmt.Println(err)
	// Output:
	// true true
	// sqlfence: seal "order:42": a later run has sealed the resource: its token is 1795000000000009, this run's 1795000000000001
}
