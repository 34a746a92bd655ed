package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"time"

	_ "modernc.org/sqlite" // the driver

	"github.com/jobguard/jobguard/guard"
)

var (
	errSoldOut = errors.New("sold out")
	errStale   = errors.New("write refused: the row has seen a higher fencing token")
)

// shop sells one kind of ticket out of a database that all replicas share.
type shop struct {
	db    *sql.DB
	think time.Duration // for about so long, between looking and writing

	// accident, if set, happens to buy right before it writes. It returns the
	// context to write with.
	accident func(ctx context.Context, token int64) context.Context
}

// buy sells a ticket to buyer if one is left. Doing it again for the same buyer
// changes nothing, so it may be repeated when its outcome is not known.
//
// It knows of no lock. If it runs under one it has a fencing token, and what it
// writes to remembers the highest it has seen.
func (s *shop) buy(ctx context.Context, buyer int) error {
	token, guarded := guard.Fence(ctx)
	if guarded {
		// Before looking: from now on no earlier holder can write
		// between our look and our write.
		if err := s.seal(ctx, token); err != nil {
			return err
		}
	}

	left, err := s.left(ctx)
	if err != nil {
		return err
	}
	if left <= 0 {
		return errSoldOut
	}

	if err := pause(ctx, s.think/2+rand.N(s.think)); err != nil {
		return err
	}
	if s.accident != nil {
		ctx = s.accident(ctx, token)
	}

	return s.write(ctx, token, buyer, left-1)
}

func (s *shop) left(ctx context.Context) (left int, err error) {
	err = s.db.QueryRowContext(ctx, `SELECT tickets FROM stock`).Scan(&left)
	if err != nil {
		return 0, fmt.Errorf("look at the stock: %w", err)
	}
	return left, nil
}

// seal lets the row refuse all tokens below this one.
func (s *shop) seal(ctx context.Context, token int64) error {
	result, err := s.db.ExecContext(ctx, `UPDATE stock SET fence = ? WHERE fence <= ?`, token, token)
	if err != nil {
		return fmt.Errorf("seal the stock: %w", err)
	}
	return accepted(result)
}

// write records the sale and what is left after it, both or neither. Without a
// guard the token is 0, and so is the row's: it is accepted like any other.
func (s *shop) write(ctx context.Context, token int64, buyer, left int) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("begin the sale: %w", err)
	}
	defer func() { _ = tx.Rollback() }() // does nothing after Commit

	result, err := tx.ExecContext(ctx, `INSERT INTO sales (buyer, token) VALUES (?, ?)
		ON CONFLICT (buyer) DO NOTHING`, buyer, token)
	if err != nil {
		return fmt.Errorf("record the sale: %w", err)
	}
	if n, err := result.RowsAffected(); n == 0 {
		return err // nil: an earlier try did it, and we could not know
	}

	result, err = tx.ExecContext(ctx, `UPDATE stock SET tickets = ?, fence = ? WHERE fence <= ?`,
		left, token, token)
	if err != nil {
		return fmt.Errorf("write the stock: %w", err)
	}
	if err := accepted(result); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("commit the sale: %w", err)
	}
	return nil
}

// accepted turns an UPDATE that found no row to change into errStale.
func accepted(result sql.Result) error {
	n, err := result.RowsAffected()
	if err == nil && n == 0 {
		return errStale
	}
	return err
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// openShop opens the database, for one process.
func openShop(path string, think time.Duration) (*shop, error) {
	q := url.Values{}
	q.Add("_pragma", "busy_timeout(5000)")
	q.Add("_pragma", "journal_mode(WAL)")
	q.Add("_pragma", "synchronous(OFF)") // need not survive the machine
	q.Set("_txlock", "immediate")
	db, err := sql.Open("sqlite", path+"?"+q.Encode())
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	// SQLite has one writer at a time. Within a process they line up here;
	// no replica keeps the connection while it waits.
	db.SetMaxOpenConns(1)
	return &shop{db: db, think: think}, nil
}

// stock fills an empty database.
func (s *shop) stock(ctx context.Context, tickets int) error {
	for _, statement := range []string{
		`CREATE TABLE stock (tickets INTEGER NOT NULL, fence INTEGER NOT NULL)`,
		`CREATE TABLE sales (seq INTEGER PRIMARY KEY, buyer INTEGER NOT NULL UNIQUE, token INTEGER NOT NULL)`,
	} {
		if _, err := s.db.ExecContext(ctx, statement); err != nil {
			return fmt.Errorf("create the shop's tables: %w", err)
		}
	}
	if _, err := s.db.ExecContext(ctx, `INSERT INTO stock VALUES (?, 0)`, tickets); err != nil {
		return fmt.Errorf("fill the stock: %w", err)
	}
	return nil
}

// fence is the highest token that the row has seen.
func (s *shop) fence(ctx context.Context) (token int64, err error) {
	err = s.db.QueryRowContext(ctx, `SELECT fence FROM stock`).Scan(&token)
	return token, err
}

// books are what the database knows when all is over.
type books struct {
	sold    int
	left    int // as the stock says
	inverse int // sales accepted with a lower token than the sale before
}

func (s *shop) books(ctx context.Context) (b books, err error) {
	err = s.db.QueryRowContext(ctx, `SELECT
		(SELECT count(*) FROM sales),
		(SELECT tickets FROM stock),
		(SELECT count(*) FROM sales a JOIN sales b ON b.seq = a.seq + 1 WHERE b.token < a.token)`,
	).Scan(&b.sold, &b.left, &b.inverse)
	if err != nil {
		return b, fmt.Errorf("read the books: %w", err)
	}
	return b, nil
}

func (s *shop) close() { _ = s.db.Close() } // the file is about to be removed
