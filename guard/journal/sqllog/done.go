package sqllog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/internal/entry"
	"github.com/jobguard/jobguard/guard/journal/record"
	"github.com/jobguard/jobguard/guard/sqlfence"
)

// Done marks the innermost run that ctx comes from done, in the caller's own transaction
// on the log's database, and seals the run's key there (sqlfence): from then on the run
// counts as done exactly when tx is committed. If it is rolled back, the run has failed,
// even if fn returns nil. If it is committed, the run is done, whatever fn returns, and
// no handler is called for it.
//
// Call it first in the transaction, before what the work reads: it locks the key's row
// until tx ends. Begin tx with ctx, so that a lost lease ends it.
//
// Errors, after each of which tx must be rolled back: sqlfence.ErrStale if a later run
// has sealed the key; guard.ErrLost if the lease is lost, or the run's compensation has
// begun; [ErrNoRun]; the database's. A key longer than 255 bytes cannot be sealed: see
// guard.Key, which shortens.
//
// An error of COMMIT does not mean "not written": the database decides, and whoever
// compensates waits until it has.
//
// A program that runs, on SQLite:
// https://github.com/jobguard/jobguard/blob/main/guard/journal/databases/example_done_test.go
func Done(ctx context.Context, tx sqlfence.Tx) error {
	r := record.RunOf(ctx)
	if r == nil {
		return ErrNoRun
	}
	l, ok := r.Log.(*Log)
	if !ok {
		return fmt.Errorf("%w: its log is a %T", ErrNoRun, r.Log)
	}
	if err := l.fence.Seal(ctx, tx, r.Key); err != nil {
		return fmt.Errorf("sqllog: done: %w", err)
	}
	done, err := l.done(ctx, tx, r.ID, r.Retain.Microseconds())
	if err == nil && !done {
		err = l.whyNot(ctx, tx, r)
	}
	if err != nil {
		return fault(ctx, "done", err)
	}
	if own, ok := tx.(*sql.Tx); ok && l.dialect == sqlfence.SQLite {
		open := func(ctx context.Context) bool {
			_, err := own.ExecContext(ctx, "SELECT 1")
			return !errors.Is(err, sql.ErrTxDone)
		}
		r.Open.Store(&open)
	}
	r.Sealed.Store(true)
	return nil
}

// whyNot tells a second Done of a run from one that comes too late.
func (l *Log) whyNot(ctx context.Context, tx sqlfence.Tx, r *record.Run) error {
	var state string
	err := tx.QueryRowContext(ctx, l.sql("SELECT state FROM {table} WHERE id = ?"), r.ID).Scan(&state)
	switch {
	case err == nil && state == string(entry.Done) && r.Sealed.Load():
		return nil
	case err == nil || errors.Is(err, sql.ErrNoRows):
		return fmt.Errorf("%w: the run counts as over: %q", guard.ErrLost, state)
	}
	return err
}

var (
	// ErrNoRun is returned by Done if its context comes from no run of a journal whose
	// log is a Log.
	ErrNoRun = errors.New("sqllog: the context comes from no run with such a log")

	// ErrTransaction is returned by journal.Checkpoint on SQLite while the transaction
	// that was given to Done is open: the checkpoint would wait for it, and it for fn.
	ErrTransaction = errors.New("sqllog: a transaction of the run is open: on SQLite, store checkpoints before it begins")
)

// Checkpoint implements [record.Log]. On SQLite it waits for another transaction for at
// most a second.
func (l *Log) Checkpoint(ctx context.Context, at record.Ref, n int64, data []byte) error {
	if data == nil {
		data = []byte{}
	}
	if l.dialect == sqlfence.SQLite {
		return fault(ctx, "checkpoint", l.checkpointAlone(ctx, at, n, data))
	}
	return fault(ctx, "checkpoint", l.checkpoint(ctx, l.db, at, n, data))
}

// checkpoint replaces the checkpoint, unless a higher one is there. MySQL does not count a
// row that had it already, so the row is looked at then.
func (l *Log) checkpoint(ctx context.Context, db sqlfence.Tx, at record.Ref, n int64, data []byte) error {
	const goesOn = "id = ? AND state = 'open' AND claimed = 0 AND reason = ''"
	result, err := db.ExecContext(ctx, l.sql("UPDATE {table} SET checkpoint_data = ?, checkpoints = ? WHERE "+goesOn+" AND checkpoints <= ?"), data, n, at.ID, n)
	if err != nil {
		return err
	}
	if rows, err := result.RowsAffected(); err != nil || rows == 1 {
		return err
	}
	var one int
	err = db.QueryRowContext(ctx, l.sql("SELECT 1 FROM {table} WHERE "+goesOn), at.ID).Scan(&one)
	if errors.Is(err, sql.ErrNoRows) {
		return record.ErrNotFound
	}
	return err
}
