package sqllog

import (
	"context"
	"database/sql"
	"errors"

	"github.com/jobguard/jobguard/guard/internal/entry"
	"github.com/jobguard/jobguard/guard/journal/record"
	"github.com/jobguard/jobguard/guard/sqlfence"
)

// inTheWay returns what an ordered run has to have compensated first.
func (l *Log) inTheWay(ctx context.Context, in record.Intent) (open []record.Open, err error) {
	rows, err := l.db.QueryContext(ctx, l.sql("SELECT "+columns+", {now} FROM {table} WHERE record_key = ? AND state = 'open' ORDER BY started, id"), []byte(in.Key))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		e, now, err := scan(rows)
		if err != nil {
			return nil, err
		}
		if e.ID != in.ID && e.Blocks(in.Fence) {
			open = append(open, e.InTheWay(now))
		}
	}
	return open, rows.Err()
}

// End implements [record.Log]. It waits for a transaction that has called [Done] for the
// run and has not ended.
func (l *Log) End(ctx context.Context, e record.End) error {
	var void, claimed bool
	ended, err := l.usual(ctx, e)
	if err == nil && !ended {
		err = l.in(ctx, func(tx *sql.Tx) error {
			r, now, ok, err := l.find(ctx, tx, e.ID)
			switch {
			case err != nil:
				return err
			case !ok:
				if missing, ok := entry.Missing(e, now); ok {
					return l.insert(ctx, tx, &missing)
				}
				return nil
			}
			if void, claimed = r.End(e, now); void {
				return l.delete(ctx, tx, e.ID)
			}
			return l.store(ctx, tx, &r)
		})
	}
	if err == nil && claimed {
		return record.ErrClaimed
	}
	return fault(ctx, "end", err)
}

// usual is End of a run that is done and was not claimed, in one statement.
func (l *Log) usual(ctx context.Context, e record.End) (bool, error) {
	if e.Sealed {
		var state string
		err := l.db.QueryRowContext(ctx, l.sql("SELECT state FROM {table} WHERE id = ?"), e.ID).Scan(&state)
		if errors.Is(err, sql.ErrNoRows) {
			return false, nil
		}
		return state == string(entry.Done), err
	}
	if e.Outcome != record.EndDone {
		return false, nil
	}
	return l.done(ctx, l.db, e.ID, e.Retain.Microseconds())
}

// done marks an open run done, unless it was claimed, and reports whether it has.
func (l *Log) done(ctx context.Context, tx sqlfence.Tx, id string, retain int64) (bool, error) {
	result, err := tx.ExecContext(ctx, l.sql(`UPDATE {table} SET state = 'done', moment = {now} + ?, payload = NULL, checkpoint_data = NULL
WHERE id = ? AND state = 'open' AND claimed = 0`), retain, id)
	if err != nil {
		return false, err
	}
	n, err := result.RowsAffected()
	return n == 1, err
}
