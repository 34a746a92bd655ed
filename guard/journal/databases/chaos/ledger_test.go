package chaos

import (
	"context"
	"database/sql"
	"strconv"
	"strings"

	"github.com/jobguard/jobguard/guard/journal/sqllog"
	"github.com/jobguard/jobguard/guard/sqlfence"
)

// ledger is where money moves. An entry is never changed.
type ledger struct {
	db    *sql.DB
	fence *sqlfence.Fence
	log   *sqllog.Log // nil: the log is on Redis
	setup setup
	close func()
}

func (l *ledger) migrate(ctx context.Context) error {
	if err := l.fence.Migrate(ctx, l.db); err != nil {
		return err
	}
	if l.log != nil {
		if err := l.log.Migrate(ctx); err != nil {
			return err
		}
	}
	_, err := l.db.ExecContext(ctx, `CREATE TABLE entries (run varchar(64) NOT NULL, what varchar(16) NOT NULL, account varchar(16) NOT NULL, cents bigint NOT NULL)`)
	if err == nil {
		_, err = l.db.ExecContext(ctx, `CREATE INDEX entries_run ON entries (run)`)
	}
	return err
}

// entry is one line: what is debit, credit, reserve, undo, handled or acked.
type entry struct {
	what, account string
	cents         int
}

// sql numbers the parameters for drivers that want it.
func (l *ledger) sql(statement string) string {
	if l.setup.Dialect != sqlfence.Postgres {
		return statement
	}
	for n := 1; strings.Contains(statement, "?"); n++ {
		statement = strings.Replace(statement, "?", "$"+strconv.Itoa(n), 1)
	}
	return statement
}

func (l *ledger) add(ctx context.Context, tx sqlfence.Tx, run string, entries ...entry) error {
	for _, e := range entries {
		if _, err := tx.ExecContext(ctx, l.sql("INSERT INTO entries (run, what, account, cents) VALUES (?, ?, ?, ?)"), run, e.what, e.account, e.cents); err != nil {
			return err
		}
	}
	return nil
}

// in calls do in a transaction that begin, a seal of the key, comes first in.
func (l *ledger) in(ctx context.Context, begin func(tx *sql.Tx) error, do func(tx *sql.Tx) error) error {
	tx, err := l.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // nothing after Commit
	if err := begin(tx); err != nil {
		return err
	}
	if err := do(tx); err != nil {
		return err
	}
	return tx.Commit()
}

// sealed is in under the key of ctx's run.
func (l *ledger) sealed(ctx context.Context, key string, do func(tx *sql.Tx) error) error {
	return l.in(ctx, func(tx *sql.Tx) error { return l.fence.Seal(ctx, tx, key) }, do)
}

// undo takes back what is there of a run.
func (l *ledger) undo(ctx context.Context, tx *sql.Tx, run, reason string) error {
	rows, err := tx.QueryContext(ctx, l.sql("SELECT account, sum(cents) FROM entries WHERE run = ? GROUP BY account"), run)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	entries := []entry{{"handled", reason, 0}}
	for rows.Next() {
		e := entry{what: "undo"}
		if err := rows.Scan(&e.account, &e.cents); err != nil {
			return err
		}
		if e.cents != 0 {
			e.cents = -e.cents
			entries = append(entries, e)
		}
	}
	if err := rows.Err(); err != nil {
		return err
	}
	_ = rows.Close()
	return l.add(ctx, tx, run, entries...)
}
