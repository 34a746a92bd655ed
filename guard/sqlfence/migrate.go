package sqlfence

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"strings"
)

// Schema returns the statement that makes the table unless it is there, for those who keep
// migrations of their own.
func (f *Fence) Schema() string { return f.sql.schema }

// Migrate makes the table unless it is there, and then seals resources of random names in a
// transaction that it rolls back, to see that the table keeps fences: the error of one that
// does not says so. Any number of processes may call it at once. It needs the right to
// create a table only where there is none that keeps fences.
func (f *Fence) Migrate(ctx context.Context, db *sql.DB) error {
	if err := f.migrate(ctx, db); err != nil {
		return fmt.Errorf("sqlfence: migrate %s: %w", f.table, err)
	}
	return nil
}

func (f *Fence) migrate(ctx context.Context, db *sql.DB) error {
	if f.probe(ctx, db) == nil {
		return nil
	}
	if err := f.create(ctx, db); err != nil {
		return err
	}
	return f.probe(ctx, db)
}

func (f *Fence) create(ctx context.Context, db *sql.DB) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // nothing after Commit
	if f.sql.alone != "" {
		if _, err := tx.ExecContext(ctx, f.sql.alone); err != nil {
			return err
		}
	}
	if _, err := tx.ExecContext(ctx, f.sql.schema); err != nil {
		return err
	}
	return tx.Commit()
}

// probe returns why the table does not keep fences.
func (f *Fence) probe(ctx context.Context, db *sql.DB) error {
	name := "\xff\x00" + rand.Text()
	if err := f.probeIn(ctx, db, func(tx *sql.Tx) error { return f.probeTable(ctx, tx, name) }); err != nil {
		return err
	}
	return f.probeIn(ctx, db, func(tx *sql.Tx) error {
		if err := f.seal(ctx, tx, name, 1); err != nil {
			return fmt.Errorf("a transaction was rolled back, its seals were not: %w", err)
		}
		return nil
	})
}

func (f *Fence) probeIn(ctx context.Context, db *sql.DB, probe func(*sql.Tx) error) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	return errors.Join(probe(tx), tx.Rollback())
}

// probeTable seals resources that differ as little as names can.
func (f *Fence) probeTable(ctx context.Context, tx *sql.Tx, name string) error {
	const exact = 1 << 53 // and one more is no float64
	long := name + strings.Repeat("x", maxResource-1-len(name))
	for _, s := range []struct {
		resource string
		token    int64
	}{
		{name, 9}, {name, 10}, {name, exact + 1}, // numbers, not text
		{name + "a", 10}, {name + "A", 9}, {name + "a ", 8}, {name + "a\x00", 7},
		{long + "x", math.MaxInt64}, {long + "y", 1},
	} {
		if err := f.seal(ctx, tx, s.resource, s.token); err != nil {
			return fmt.Errorf("the table is not as Schema makes it: %w", err)
		}
	}
	err := f.seal(ctx, tx, name, exact)
	if stale := (*StaleError)(nil); !errors.As(err, &stale) || stale.Newest != exact+1 {
		return fmt.Errorf("the table is not as Schema makes it: a token was to be refused, as it is lower by 1: %v", err) //nolint:errorlint // it is not what went wrong, and may be nil
	}
	return nil
}
