package databases

import (
	"context"
	"database/sql"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
	"github.com/jobguard/jobguard/guard/journal"
	"github.com/jobguard/jobguard/guard/journal/sqllog"
	"github.com/jobguard/jobguard/guard/sqlfence"
)

// charge is the function under test.
func charge(ctx context.Context, db *sql.DB) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // nothing after Commit
	if err := sqllog.Done(ctx, tx); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, `UPDATE account SET cents = cents - 100`); err != nil {
		return err
	}
	return tx.Commit()
}

// newAccount is a journal whose records are in SQLite and whose leases are in memory.
func newAccount(t *testing.T) (*sql.DB, *guardtest.Store, *journal.Journal) {
	db, err := sql.Open("sqlite", "file:"+filepath.Join(t.TempDir(), "test.db")+"?_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)")
	must(t, err)
	t.Cleanup(func() { _ = db.Close() })
	_, err = db.ExecContext(t.Context(), `CREATE TABLE account AS SELECT 1000 AS cents`)
	must(t, err)
	records, err := sqllog.New(db, sqlfence.SQLite)
	must(t, err)
	must(t, records.Migrate(t.Context()))
	store := guardtest.NewStore()
	g, err := guard.New(store, guard.TTL(3*time.Second))
	must(t, err)
	j, err := journal.New(g, records)
	must(t, err)
	return db, store, j
}

func TestChargeDoesNothingOnceItsLeaseIsLost(t *testing.T) {
	db, store, j := newAccount(t)
	for want, before := range map[error]func(ctx context.Context){
		nil:           func(context.Context) {},
		guard.ErrLost: func(ctx context.Context) { store.Expire("account:1"); <-ctx.Done() },
	} {
		err := j.Do(t.Context(), "account:1", journal.Op{Kind: "charge"}, func(ctx context.Context) error {
			before(ctx)
			return charge(ctx, db)
		})
		if !errors.Is(err, want) {
			t.Errorf("Do() = %v, want %v", err, want)
		}
	}
	var cents int
	must(t, db.QueryRowContext(t.Context(), `SELECT cents FROM account`).Scan(&cents))
	if cents != 900 {
		t.Errorf("%d cents are left, want 900: one charge of two", cents)
	}
}
