package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"sync/atomic"
	"time"

	_ "modernc.org/sqlite" // the driver

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/sqlfence"
)

var errSoldOut = errors.New("sold out")

// shop sells tickets, one kind for each SKU, out of a database that all replicas share.
type shop struct {
	db     *sql.DB
	fences *sqlfence.Fence
	think  time.Duration // for about so long, between looking and writing

	// accident, if set, happens to the next sale right before it writes: see late.
	accident atomic.Pointer[func(ctx context.Context, token int64)]
}

// buy sells a ticket to buyer if one is left. Doing it again for the same buyer
// changes nothing, so it may be repeated when its outcome is not known.
//
// It knows of no lock. If it runs under one it has a fencing token, with which it
// seals the stock in each transaction.
func (s *shop) buy(ctx context.Context, sku string, buyer int) error {
	left, err := s.look(ctx, sku)
	if err != nil {
		return err
	}
	if left <= 0 {
		return errSoldOut
	}
	if err := pause(ctx, s.think/2+rand.N(s.think)); err != nil {
		return err
	}
	return s.write(ctx, sku, buyer, left-1)
}

// look returns how many tickets are left. From now on no earlier holder can write
// between our look and our write.
func (s *shop) look(ctx context.Context, sku string) (left int, err error) {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return 0, fmt.Errorf("begin to look: %w", err)
	}
	defer func() { _ = tx.Rollback() }() // does nothing after Commit
	if err := s.seal(ctx, tx, sku); err != nil {
		return 0, err
	}
	err = tx.QueryRowContext(ctx, `SELECT tickets FROM stock WHERE sku = ?`, sku).Scan(&left)
	if err != nil {
		return 0, fmt.Errorf("look at the stock: %w", err)
	}
	if err := tx.Commit(); err != nil {
		return 0, fmt.Errorf("end the look: %w", err)
	}
	return left, nil
}

// write records the sale and what is left after it, both or neither.
func (s *shop) write(ctx context.Context, sku string, buyer, left int) error {
	tx, end, err := s.begin(ctx)
	if err != nil {
		return fmt.Errorf("begin the sale: %w", err)
	}
	defer func() { _ = end.Rollback() }() // does nothing after Commit
	if err := s.seal(ctx, tx, sku); err != nil {
		return err
	}

	token, _ := guard.Fence(ctx)
	result, err := tx.ExecContext(ctx, `INSERT INTO sales (sku, buyer, token) VALUES (?, ?, ?)
		ON CONFLICT (sku, buyer) DO NOTHING`, sku, buyer, token)
	if err != nil {
		return fmt.Errorf("record the sale: %w", err)
	}
	if n, err := result.RowsAffected(); n == 0 {
		return err // nil: an earlier try did it, and we could not know
	}
	if _, err := tx.ExecContext(ctx, `UPDATE stock SET tickets = ? WHERE sku = ?`, left, sku); err != nil {
		return fmt.Errorf("write the stock: %w", err)
	}
	if err := end.Commit(); err != nil {
		return fmt.Errorf("commit the sale: %w", err)
	}
	return nil
}

// seal lets the database refuse all earlier runs. Without a guard there is no token,
// and nothing to refuse by.
func (s *shop) seal(ctx context.Context, tx sqlfence.Tx, sku string) error {
	if _, guarded := guard.Fence(ctx); !guarded {
		return nil
	}
	return s.fences.Seal(ctx, tx, "stock:"+sku)
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
	db, err := sql.Open("sqlite", path+"?"+q.Encode())
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	// SQLite has one writer at a time. Within a process they line up here;
	// no replica keeps the connection while it waits.
	db.SetMaxOpenConns(1)
	fences, err := sqlfence.New(sqlfence.SQLite, sqlfence.Table("fences"))
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return &shop{db: db, fences: fences, think: think}, nil
}

// create makes the tables of an empty database.
func (s *shop) create(ctx context.Context) error {
	for _, statement := range []string{
		`CREATE TABLE stock (sku TEXT PRIMARY KEY, stocked INTEGER NOT NULL, tickets INTEGER NOT NULL)`,
		`CREATE TABLE sales (seq INTEGER PRIMARY KEY, sku TEXT NOT NULL, buyer INTEGER NOT NULL,
			token INTEGER NOT NULL, UNIQUE (sku, buyer))`,
	} {
		if _, err := s.db.ExecContext(ctx, statement); err != nil {
			return fmt.Errorf("create the shop's tables: %w", err)
		}
	}
	return s.fences.Migrate(ctx, s.db)
}

// stock puts tickets of a new SKU on sale.
func (s *shop) stock(ctx context.Context, sku string, tickets int) error {
	_, err := s.db.ExecContext(ctx, `INSERT INTO stock VALUES (?, ?, ?)`, sku, tickets, tickets)
	if err != nil {
		return fmt.Errorf("fill the stock: %w", err)
	}
	return nil
}

// newest is the highest token under which a ticket was sold; 0 if none was.
func (s *shop) newest(ctx context.Context) (token int64, err error) {
	err = s.db.QueryRowContext(ctx, `SELECT coalesce(max(token), 0) FROM sales`).Scan(&token)
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
		(SELECT sum(tickets) FROM stock),
		(SELECT count(*) FROM sales a JOIN sales b ON b.seq = a.seq + 1 WHERE b.token < a.token)`,
	).Scan(&b.sold, &b.left, &b.inverse)
	if err != nil {
		return b, fmt.Errorf("read the books: %w", err)
	}
	return b, nil
}

func (s *shop) close() { _ = s.db.Close() } // the file is about to be removed
