package sqllog

import (
	"context"
	"database/sql"
	"errors"

	"github.com/jobguard/jobguard/guard/journal/record"
	"github.com/jobguard/jobguard/guard/sqlfence"
)

// Begin implements [record.Log]. It takes two round trips, and three while the log is
// more than seven eighths full. Of calls at the same time that find more room than there
// is, those that are refused can be seen in the log until then.
func (l *Log) Begin(ctx context.Context, in record.Intent) ([]record.Open, error) {
	if in.Ordered {
		open, err := l.inTheWay(ctx, in)
		if err != nil || len(open) > 0 {
			return open, fault(ctx, "begin", err)
		}
	}
	return nil, fault(ctx, "begin", l.begin(ctx, in))
}

// begin stores first and counts afterwards. So the last of any records that are open at
// once has been counted together with all others, and MaxOpen holds without a lock.
func (l *Log) begin(ctx context.Context, in record.Intent) error {
	if l.filling.Load() {
		if err := l.look(ctx, in); err != nil {
			return err
		}
	}
	if err := l.intend(ctx, in); err != nil {
		return err
	}
	open, err := l.open(ctx, l.db, in.MaxOpen)
	if err != nil || open <= in.MaxOpen {
		return err
	}
	return l.yield(ctx, in)
}

// look is ErrFull if there is no room, so that a log that is full is not written to. A
// repetition needs none.
func (l *Log) look(ctx context.Context, in record.Intent) error {
	open, err := l.open(ctx, l.db, in.MaxOpen)
	if err != nil || open < in.MaxOpen {
		return err
	}
	var one int
	err = l.db.QueryRowContext(ctx, l.sql("SELECT 1 FROM {table} WHERE id = ?"), in.ID).Scan(&one)
	if errors.Is(err, sql.ErrNoRows) {
		return record.ErrFull
	}
	return err
}

func (l *Log) intend(ctx context.Context, in record.Intent) error {
	payload := in.Payload
	if payload == nil {
		payload = []byte{}
	}
	_, err := l.db.ExecContext(ctx, l.sql("INSERT INTO {table} ("+columns+`)
VALUES (?, 'open', ?, ?, ?, NULL, '', ?, 0, {now}, NULL, {now} + ?, '', 0, -1, 0, 0, 0)`+l.says.insert),
		in.ID, in.Kind, []byte(in.Key), payload, in.Fence, in.Due.Microseconds())
	return err
}

// open is how many records are open, up to one more than may be.
func (l *Log) open(ctx context.Context, tx sqlfence.Tx, most int) (n int, err error) {
	const count = "SELECT count(*) FROM (SELECT 1 FROM {table} WHERE state = 'open' LIMIT ?) AS o"
	if err := tx.QueryRowContext(ctx, l.sql(count), most+1).Scan(&n); err != nil {
		return 0, err
	}
	l.filling.Store(n > most-most/8)
	return n, nil
}

// yield takes the intent back if there are still too many. One does so at a time, or all
// that were stored at once would. A claimed record is left to its handler.
func (l *Log) yield(ctx context.Context, in record.Intent) error {
	full := false
	err := l.in(ctx, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, l.sql(turn+l.says.turn)); err != nil {
			return err
		}
		open, err := l.open(ctx, tx, in.MaxOpen)
		if err != nil || open <= in.MaxOpen {
			return err
		}
		full = true
		_, err = tx.ExecContext(ctx, l.sql("DELETE FROM {table} WHERE id = ? AND state = 'open' AND claimed = 0"), in.ID)
		return err
	})
	if err == nil && full {
		return record.ErrFull
	}
	return err
}

// turn stores or locks the row that whoever takes an intent back holds until its
// transaction ends. No other statement finds it.
const turn = `INSERT INTO {table} (` + columns + `)
VALUES ('', 'turn', '', '', '', NULL, '', 0, 0, 0, NULL, 0, '', 0, 0, 0, 0, 0)`
