package sqllog_test

import (
	"context"
	"database/sql"
	"log"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/journal"
	"github.com/jobguard/jobguard/guard/journal/sqllog"
	"github.com/jobguard/jobguard/guard/sqlfence"
)

// The run is done exactly when its write is committed.
func ExampleDone() {
	var db *sql.DB
	var g *guard.Guard

	records, err := sqllog.New(db, sqlfence.Postgres)
	if err != nil {
		log.Fatal(err)
	}
	if err := records.Migrate(context.Background()); err != nil {
		log.Fatal(err)
	}
	j, err := journal.New(g, records)
	if err != nil {
		log.Fatal(err)
	}
	charge := func(ctx context.Context, account string, cents int64) error {
		return j.Do(ctx, guard.Key("account", account), journal.Op{Kind: "charge"}, func(ctx context.Context) error {
			tx, err := db.BeginTx(ctx, nil) // fn's ctx
			if err != nil {
				return err
			}
			defer func() { _ = tx.Rollback() }()         // nothing after Commit
			if err := sqllog.Done(ctx, tx); err != nil { // first
				return err // sqlfence.ErrStale: a later run was here
			}
			if _, err := tx.ExecContext(ctx, `UPDATE accounts SET cents = cents - $1 WHERE id = $2`, cents, account); err != nil {
				return err
			}
			return tx.Commit()
		})
	}
	_ = charge
}
