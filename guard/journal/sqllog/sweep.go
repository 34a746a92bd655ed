package sqllog

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/jobguard/jobguard/guard/internal/entry"
	"github.com/jobguard/jobguard/guard/journal/record"
)

// A Take deletes finished records in so many batches, of so many of each state, at most.
const batches, forgets = 10, 200

// Take implements [record.Log]. It passes over records that a transaction has locked. It
// also deletes finished records whose retention is over, up to 4000; trouble with that is
// told only if nothing is due, so that what was taken is not lost.
func (l *Log) Take(ctx context.Context, t record.Take) ([]record.Due, error) {
	if len(t.Kinds) == 0 || t.Max < 1 {
		return nil, nil
	}
	due, err := l.take(ctx, t)
	if err != nil {
		return nil, fault(ctx, "take", err)
	}
	if err := l.forget(ctx); err != nil && len(due) == 0 {
		return nil, fault(ctx, "take", err)
	}
	return due, nil
}

func (l *Log) take(ctx context.Context, t record.Take) (due []record.Due, err error) {
	args := make([]any, 0, len(t.Kinds)+1)
	for _, kind := range t.Kinds {
		args = append(args, kind)
	}
	args = append(args, t.Max)
	const found = "FROM {table} WHERE state = 'open' AND moment <= {now} AND kind IN "
	// Nothing is due, usually: look before locking.
	var one int
	err = l.db.QueryRowContext(ctx, l.sql("SELECT 1 "+found+"("+marks(len(t.Kinds))+") LIMIT 1"), args[:len(t.Kinds)]...).Scan(&one)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	err = l.in(ctx, func(tx *sql.Tx) error {
		if l.says.write != "" {
			if _, err := tx.ExecContext(ctx, l.sql(l.says.write)); err != nil {
				return err
			}
		}
		due, err = dueOf(tx.QueryContext(ctx, l.sql("SELECT id, kind, record_key, busy "+found+
			"("+marks(len(t.Kinds))+") ORDER BY moment, id LIMIT ?"+l.says.skip), args...))
		if err != nil || len(due) == 0 {
			return err
		}
		args := []any{t.Lap.Microseconds()}
		for _, d := range due {
			args = append(args, d.ID)
		}
		_, err = tx.ExecContext(ctx, l.sql("UPDATE {table} SET moment = {now} + ? WHERE id IN ("+marks(len(due))+")"), args...)
		return err
	})
	return due, err
}

func dueOf(rows *sql.Rows, err error) (due []record.Due, _ error) {
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }() // after Err it says nothing new
	for rows.Next() {
		var d record.Due
		var kind, key []byte
		if err := rows.Scan(&d.ID, &kind, &key, &d.Busy); err != nil {
			return nil, err
		}
		d.Kind, d.Key = string(kind), string(key)
		due = append(due, d)
	}
	return due, rows.Err()
}

// forget deletes finished records whose retention is over.
func (l *Log) forget(ctx context.Context) error {
	for _, state := range []entry.State{entry.Done, entry.Compensated} {
		for range batches {
			n, err := l.forgetSome(ctx, string(state))
			if err != nil {
				return err
			}
			if n < forgets {
				break
			}
		}
	}
	return nil
}

// forgetSome deletes a batch, and returns how many there were.
func (l *Log) forgetSome(ctx context.Context, state string) (int, error) {
	ids, err := texts(l.db.QueryContext(ctx, l.sql("SELECT id FROM {table} WHERE state = ? AND moment <= {now} ORDER BY moment LIMIT ?"), state, forgets))
	if err != nil || len(ids) == 0 {
		return 0, err
	}
	_, err = l.db.ExecContext(ctx, l.sql("DELETE FROM {table} WHERE id IN ("+marks(len(ids))+") AND state = ? AND moment <= {now}"), append(ids, state)...)
	return len(ids), err
}

func texts(rows *sql.Rows, err error) (all []any, _ error) {
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }() // after Err it says nothing new
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, rows.Err()
}

// Claim implements [record.Log]. It waits for a transaction that has called [Done] for
// the run and has not ended.
func (l *Log) Claim(ctx context.Context, c record.Claim) (claimed record.Claimed, err error) {
	err = l.in(ctx, func(tx *sql.Tx) error {
		r, now, ok, err := l.find(ctx, tx, c.ID)
		if err != nil || !ok {
			claimed.State = record.Finished
			return err
		}
		claimed.State = r.Claim(c, now)
		if claimed.State != record.Granted {
			return nil
		}
		claimed.Record = r.Record
		if err := l.latest(ctx, tx, &claimed.Record); err != nil {
			return err
		}
		return l.store(ctx, tx, &r)
	})
	if err != nil {
		return record.Claimed{}, fault(ctx, "claim", err)
	}
	return claimed, nil
}

// latest finds the newest token of r's key since r began, as far as records are kept.
func (l *Log) latest(ctx context.Context, tx querier, r *record.Record) error {
	var latest int64 // 0: r itself is gone
	err := tx.QueryRowContext(ctx, l.sql("SELECT coalesce(max(fence), 0) FROM {table} WHERE record_key = ? AND started >= ?"),
		[]byte(r.Key), r.Started.UnixMicro()).Scan(&latest)
	r.LatestFence = max(r.Fence, latest)
	return err
}

// querier is a database, or a transaction.
type querier interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// Resolve implements [record.Log].
func (l *Log) Resolve(ctx context.Context, v record.Verdict) (answer record.Resolved, err error) {
	err = l.in(ctx, func(tx *sql.Tx) error {
		r, now, ok, err := l.find(ctx, tx, v.ID)
		if err != nil || !ok {
			answer = record.Void
			return err
		}
		answer = r.Resolve(v, now)
		return l.store(ctx, tx, &r)
	})
	return answer, fault(ctx, "resolve", err)
}

// Postpone implements [record.Log].
func (l *Log) Postpone(ctx context.Context, at record.Ref, d time.Duration) error {
	_, err := l.db.ExecContext(ctx, l.sql("UPDATE {table} SET busy = busy + 1, moment = {now} + ? WHERE id = ? AND state = 'open' AND moment > {now}"),
		d.Microseconds(), at.ID)
	return fault(ctx, "postpone", err)
}

// Stats implements [record.Log].
func (l *Log) Stats(ctx context.Context) (record.Stats, error) {
	var s record.Stats
	var oldest int64
	err := l.db.QueryRowContext(ctx, l.sql(`SELECT
(SELECT count(*) FROM {table} WHERE state = 'open'),
(SELECT count(*) FROM {table} WHERE state = 'dead'),
(SELECT coalesce({now} - min(started), 0) FROM {table} WHERE state = 'open')`)).Scan(&s.Open, &s.Dead, &oldest)
	s.Oldest = time.Duration(oldest) * time.Microsecond
	if err == nil && s.Open > 0 {
		s.Oldest = max(s.Oldest, 1) // the clock may not have moved
	}
	return s, fault(ctx, "stats", err)
}
