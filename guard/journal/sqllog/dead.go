package sqllog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/jobguard/jobguard/guard/internal/entry"
	"github.com/jobguard/jobguard/guard/journal/record"
)

// Dead implements [record.Log]. A cursor is time and id of the last record of the page
// before.
func (l *Log) Dead(ctx context.Context, cursor string, n int) ([]record.Record, string, error) {
	after, last := int64(0), ""
	if cursor != "" {
		at, id, ok := strings.Cut(cursor, " ")
		var err error
		if after, err = strconv.ParseInt(at, 10, 64); err != nil || !ok {
			return nil, "", fmt.Errorf("sqllog: dead: %q is no cursor", cursor)
		}
		last = id
	}
	dead, err := l.dead(ctx, after, last, n+1)
	if err != nil {
		return nil, "", fault(ctx, "dead", err)
	}
	next := ""
	if len(dead) > n {
		dead = dead[:n]
		next = strconv.FormatInt(dead[n-1].At.UnixMicro(), 10) + " " + dead[n-1].ID
	}
	records := make([]record.Record, len(dead))
	for i, e := range dead {
		records[i] = e.Record
		if err := l.latest(ctx, l.db, &records[i]); err != nil {
			return nil, "", fault(ctx, "dead", err)
		}
	}
	return records, next, nil
}

func (l *Log) dead(ctx context.Context, after int64, last string, n int) (dead []entry.Entry, err error) {
	rows, err := l.db.QueryContext(ctx, l.sql("SELECT "+columns+`, {now} FROM {table}
WHERE state = 'dead' AND (moment > ? OR moment = ? AND id > ?) ORDER BY moment, id LIMIT ?`), after, after, last, n)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		e, _, err := scan(rows)
		if err != nil {
			return nil, err
		}
		dead = append(dead, e)
	}
	return dead, rows.Err()
}

// Requeue implements [record.Log].
func (l *Log) Requeue(ctx context.Context, id string) error {
	err := l.in(ctx, func(tx *sql.Tx) error {
		r, now, ok, err := l.find(ctx, tx, id)
		switch {
		case err != nil:
			return err
		case !ok || !r.Requeue(now):
			return record.ErrNotFound
		}
		return l.store(ctx, tx, &r)
	})
	return notFound(ctx, "requeue", err)
}

// Drop implements [record.Log].
func (l *Log) Drop(ctx context.Context, id string) error {
	result, err := l.db.ExecContext(ctx, l.sql("DELETE FROM {table} WHERE id = ? AND state = 'dead'"), id)
	if err == nil {
		var n int64
		if n, err = result.RowsAffected(); err == nil && n == 0 {
			err = record.ErrNotFound
		}
	}
	return notFound(ctx, "drop", err)
}

func notFound(ctx context.Context, doing string, err error) error {
	if errors.Is(err, record.ErrNotFound) {
		return record.ErrNotFound
	}
	return fault(ctx, doing, err)
}
