package sqllog

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jobguard/jobguard/guard/internal/backoff"
	"github.com/jobguard/jobguard/guard/journal/record"
)

// longestCheckpoint is how long a checkpoint on SQLite waits for a connection and the
// lock. fn's own transaction may have them, and it waits for fn.
const longestCheckpoint = time.Second

// checkpointAlone is checkpoint on SQLite, where one transaction writes at a time.
func (l *Log) checkpointAlone(ctx context.Context, at record.Ref, n int64, data []byte) (err error) {
	if r := record.RunOf(ctx); r != nil && r.ID == at.ID {
		if open := r.Open.Load(); open != nil && (*open)(ctx) {
			return ErrTransaction
		}
	}
	bounded, cancel := context.WithTimeout(ctx, longestCheckpoint)
	defer cancel()
	conn, err := l.db.Conn(bounded)
	if err != nil {
		return perhapsOwn(ctx, err)
	}
	defer func() { _ = conn.Close() }() // back to the pool
	var timeout int
	if err := conn.QueryRowContext(ctx, "PRAGMA busy_timeout").Scan(&timeout); err != nil {
		return err
	}
	if _, err := conn.ExecContext(ctx, "PRAGMA busy_timeout = 0"); err != nil {
		return err
	}
	defer func() {
		_, _ = conn.ExecContext(context.WithoutCancel(ctx), fmt.Sprintf("PRAGMA busy_timeout = %d", timeout)) // asks no file
	}()
	for {
		err := l.checkpoint(bounded, conn, at, n, data)
		if err == nil || !busy(err) {
			return err
		}
		if backoff.Sleep(bounded, 10*time.Millisecond) != nil {
			return perhapsOwn(ctx, err)
		}
	}
}

// perhapsOwn names the likely reason of a wait that was given up.
func perhapsOwn(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return err
	}
	return fmt.Errorf("another transaction goes on, perhaps the run's own: on SQLite, store checkpoints before it begins: %w", err)
}

// busy recognises, in the words of all drivers, that another connection has the lock.
func busy(err error) bool {
	return strings.Contains(err.Error(), "database is locked") || strings.Contains(err.Error(), "SQLITE_BUSY")
}
