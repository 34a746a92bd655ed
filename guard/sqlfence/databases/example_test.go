package databases

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
	"github.com/jobguard/jobguard/guard/sqlfence"
)

func Example() {
	db, err := sql.Open("sqlite", "file:example?mode=memory&cache=shared")
	if err != nil {
		log.Fatal(err)
	}
	db.SetMaxOpenConns(1) // it lives in memory
	ctx := context.Background()
	fences, err := sqlfence.New(sqlfence.SQLite)
	if err != nil {
		log.Fatal(err)
	}
	if err := fences.Migrate(ctx, db); err != nil {
		log.Fatal(err)
	}

	write := func(ctx context.Context, what string) error {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		defer func() { _ = tx.Rollback() }() // nothing after Commit
		if err := fences.Seal(ctx, tx, "account:7"); err != nil {
			return err
		}
		fmt.Println("written by the", what)
		return tx.Commit()
	}

	// To the second guard the key is free, as after a failover of Redis that has lost the
	// lease of the first: both run at once.
	first, err := guard.New(guardtest.NewStore())
	if err != nil {
		log.Fatal(err)
	}
	second, err := guard.New(guardtest.NewStore())
	if err != nil {
		log.Fatal(err)
	}
	err = first.Do(ctx, "account:7", func(earlier context.Context) error {
		for _, run := range []string{"run with token 1", "run with token 2"} {
			err := second.Do(ctx, "account:7", func(ctx context.Context) error { return write(ctx, run) })
			if err != nil {
				return err
			}
		}
		return write(earlier, "run with token 1 that has been overtaken")
	})
	fmt.Println("refused:", errors.Is(err, sqlfence.ErrStale))
	if err := db.Close(); err != nil {
		log.Fatal(err)
	}
	// Output:
	// written by the run with token 1
	// written by the run with token 2
	// refused: true
}
