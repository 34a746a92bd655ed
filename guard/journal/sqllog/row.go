package sqllog

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/jobguard/jobguard/guard/internal/entry"
	"github.com/jobguard/jobguard/guard/journal/record"
)

// columns of an entry, in the order of scan and values.
const columns = "id, state, kind, record_key, payload, checkpoint_data, reason, fence, attempt, started, failure, moment, claim_id, claimed, answer, again, busy, checkpoints"

const updates = "state = ?, payload = ?, checkpoint_data = ?, reason = ?, attempt = ?, started = ?, failure = ?, moment = ?, claim_id = ?, claimed = ?, answer = ?, again = ?, busy = ?, checkpoints = ?"

// none is the answer of a claim that has none.
const none = -1

// scan reads an entry, and the database's time behind it.
func scan(row interface{ Scan(dest ...any) error }) (e entry.Entry, now time.Time, err error) {
	var kind, key, failure []byte
	var started, moment, micros int64
	var answer, again int
	err = row.Scan(&e.ID, &e.State, &kind, &key, &e.Payload, &e.Checkpoint, &e.Reason, &e.Fence, &e.Attempt, &started,
		&failure, &moment, &e.By, &e.Claimed, &answer, &again, &e.Busy, &e.Checkpoints, &micros)
	if err != nil {
		return e, now, err
	}
	e.Kind, e.Key, e.Err, e.Again = string(kind), string(key), string(failure), again != 0
	e.Started, e.At = time.UnixMicro(started), time.UnixMicro(moment)
	e.LatestFence = e.Fence
	if len(e.Checkpoint) == 0 {
		e.Checkpoint = nil
	}
	if answer != none {
		a := record.Resolved(answer)
		e.Answer = &a
	}
	return e, time.UnixMicro(micros), nil
}

// changing are the values of updates.
func changing(e *entry.Entry) []any {
	answer, again := none, 0
	if e.Answer != nil {
		answer = int(*e.Answer)
	}
	if e.Again {
		again = 1
	}
	return []any{string(e.State), e.Payload, e.Checkpoint, string(e.Reason), e.Attempt, e.Started.UnixMicro(), []byte(e.Err),
		e.At.UnixMicro(), e.By, e.Claimed, answer, again, e.Busy, e.Checkpoints}
}

// find reads and locks the record of id, in a transaction. ok is false if there is none,
// or its retention is over; it is deleted then.
func (l *Log) find(ctx context.Context, tx *sql.Tx, id string) (e entry.Entry, now time.Time, ok bool, err error) {
	if l.says.write != "" {
		if _, err := tx.ExecContext(ctx, l.sql(l.says.write)); err != nil {
			return e, now, false, err
		}
	}
	e, now, err = scan(tx.QueryRowContext(ctx, l.sql("SELECT "+columns+", {now} FROM {table} WHERE id = ?"+l.says.locked), id))
	switch {
	case errors.Is(err, sql.ErrNoRows):
		err = tx.QueryRowContext(ctx, l.sql("SELECT {now}")).Scan(&micros{&now})
		return e, now, false, err
	case err == nil && e.Forgotten(now):
		return e, now, false, l.delete(ctx, tx, id)
	}
	return e, now, err == nil, err
}

// micros scans a time.
type micros struct{ at *time.Time }

func (m *micros) Scan(src any) error {
	var n sql.NullInt64
	if err := n.Scan(src); err != nil {
		return err
	}
	*m.at = time.UnixMicro(n.Int64)
	return nil
}

// store writes what changed of an entry.
func (l *Log) store(ctx context.Context, tx *sql.Tx, e *entry.Entry) error {
	_, err := tx.ExecContext(ctx, l.sql("UPDATE {table} SET "+updates+" WHERE id = ?"), append(changing(e), e.ID)...)
	return err
}

// insert writes an entry that is new.
func (l *Log) insert(ctx context.Context, tx *sql.Tx, e *entry.Entry) error {
	answer := none
	_, err := tx.ExecContext(ctx, l.sql("INSERT INTO {table} ("+columns+") VALUES ("+marks(18)+")"+l.says.insert),
		e.ID, string(e.State), e.Kind, []byte(e.Key), e.Payload, e.Checkpoint, string(e.Reason), e.Fence, e.Attempt,
		e.Started.UnixMicro(), []byte(e.Err), e.At.UnixMicro(), e.By, e.Claimed, answer, 0, e.Busy, e.Checkpoints)
	return err
}

func (l *Log) delete(ctx context.Context, tx *sql.Tx, id string) error {
	_, err := tx.ExecContext(ctx, l.sql("DELETE FROM {table} WHERE id = ?"), id)
	return err
}
