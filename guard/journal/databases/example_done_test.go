package databases

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
	"github.com/jobguard/jobguard/guard/journal"
	"github.com/jobguard/jobguard/guard/journal/sqllog"
	"github.com/jobguard/jobguard/guard/sqlfence"
)

// The commit decides: a run is done once its write is there, whatever fn returns, and is open,
// to be compensated, when its write was rolled back.
func Example_done() {
	db, err := sql.Open("sqlite", "file:done?mode=memory&cache=shared")
	if err != nil {
		log.Fatal(err)
	}
	db.SetMaxOpenConns(1) // it lives in memory
	ctx := context.Background()
	records, err := sqllog.New(db, sqlfence.SQLite)
	if err != nil {
		log.Fatal(err)
	}
	if err := records.Migrate(ctx); err != nil {
		log.Fatal(err)
	}
	g, err := guard.New(guardtest.NewStore())
	if err != nil {
		log.Fatal(err)
	}
	j, err := journal.New(g, records)
	if err != nil {
		log.Fatal(err)
	}

	run := func(end func(*sql.Tx) error, result error) {
		err := j.Do(ctx, "account:7", journal.Op{Kind: "charge"}, func(ctx context.Context) error {
			tx, err := db.BeginTx(ctx, nil)
			if err != nil {
				return err
			}
			defer func() { _ = tx.Rollback() }() // nothing after Commit
			if err := sqllog.Done(ctx, tx); err != nil {
				return err
			}
			return errors.Join(end(tx), result) // here the work is written, before end
		})
		s, statsErr := j.Stats(ctx)
		fmt.Println("result:", err, "open:", s.Open, statsErr)
	}
	run((*sql.Tx).Commit, errors.New("no mail sent"))
	run((*sql.Tx).Rollback, nil)
	if err := db.Close(); err != nil {
		log.Fatal(err)
	}
	// Output:
	// result: no mail sent open: 0 <nil>
	// result: <nil> open: 1 <nil>
}
