package main

import (
	"context"
	"database/sql"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/sqlfence"
)

// late is a transaction whose first statement comes late: an accident happens between
// the last check and the moment at which the statement is sent.
//
// database/sql and Seal look at the context and at the lease before they send
// anything, and after a loss the write would end there. But the process might as well
// have been stopped one instruction after that look. This is how to stage it: the
// statement goes out regardless.
type late struct {
	sqlfence.Tx
	accident *func(ctx context.Context, token int64) // nil once it has happened
	token    int64
}

// ExecContext implements [sqlfence.Tx].
func (l *late) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	return l.Tx.ExecContext(l.past(ctx), query, args...)
}

// QueryRowContext implements [sqlfence.Tx].
func (l *late) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	return l.Tx.QueryRowContext(l.past(ctx), query, args...)
}

func (l *late) past(ctx context.Context) context.Context {
	if accident := l.accident; accident != nil {
		l.accident = nil
		(*accident)(ctx, l.token)
	}
	return context.WithoutCancel(ctx)
}

// begin begins the transaction of a sale: a late one if an accident is due. The
// statements go to the first result, the end to the second.
func (s *shop) begin(ctx context.Context) (sqlfence.Tx, *sql.Tx, error) {
	accident := s.accident.Swap(nil)
	if accident == nil {
		tx, err := s.db.BeginTx(ctx, nil)
		return tx, tx, err
	}
	tx, err := s.db.BeginTx(context.WithoutCancel(ctx), nil)
	token, _ := guard.Fence(ctx)
	l := &late{tx, accident, token}
	if err != nil {
		s.postpone(l)
		return nil, nil, err
	}
	return l, tx, nil
}

// postpone has the accident of a transaction that came to no statement happen to a later sale.
func (s *shop) postpone(tx sqlfence.Tx) {
	if l, ok := tx.(*late); ok && l.accident != nil {
		s.accident.CompareAndSwap(nil, l.accident)
	}
}
