package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/sqlfence"
)

var errSoldOut = errors.New("sold out")

// shop sells tickets, one kind for each SKU, out of a database that all replicas share.
type shop struct {
	db      *sql.DB
	dialect sqlfence.Dialect
	fences  *sqlfence.Fence
	think   time.Duration // for about so long, between looking and writing

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
	err = tx.QueryRowContext(ctx, s.q(`SELECT tickets FROM stock WHERE sku = ?`), sku).Scan(&left)
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
	defer s.postpone(tx)
	defer func() { _ = end.Rollback() }() // does nothing after Commit
	if err := s.seal(ctx, tx, sku); err != nil {
		return err
	}

	token, _ := guard.Fence(ctx)
	result, err := tx.ExecContext(ctx, s.q(`INSERT INTO sales (sku, buyer, token) VALUES (?, ?, ?)
		ON CONFLICT (sku, buyer) DO NOTHING`), sku, buyer, token)
	if err != nil {
		return fmt.Errorf("record the sale: %w", err)
	}
	if n, err := result.RowsAffected(); n == 0 {
		return err // nil: an earlier try did it, and we could not know
	}
	if _, err := tx.ExecContext(ctx, s.q(`UPDATE stock SET tickets = ? WHERE sku = ?`), left, sku); err != nil {
		return fmt.Errorf("write the stock: %w", err)
	}
	if err := end.Commit(); err != nil {
		return fmt.Errorf("commit the sale: %w", err)
	}
	return nil
}

// pay marks a sale as paid. done, if not nil, is the first statement of its transaction.
func (s *shop) pay(ctx context.Context, sku string, buyer int, done func(context.Context, sqlfence.Tx) error) error {
	return s.in(ctx, "pay", func(tx *sql.Tx) error {
		if done != nil {
			if err := done(ctx, tx); err != nil {
				return err
			}
		}
		_, err := tx.ExecContext(ctx, s.q(`UPDATE sales SET paid = 1 WHERE sku = ? AND buyer = ?`), sku, buyer)
		return err
	})
}

// putBack takes back a sale that was never paid, if it was ever made.
func (s *shop) putBack(ctx context.Context, sku string, buyer int) (tickets int, err error) {
	err = s.in(ctx, "put back", func(tx *sql.Tx) error {
		if err := s.seal(ctx, tx, sku); err != nil {
			return err
		}
		result, err := tx.ExecContext(ctx, s.q(`DELETE FROM sales WHERE sku = ? AND buyer = ? AND paid = 0`), sku, buyer)
		if err != nil {
			return err
		}
		n, err := result.RowsAffected()
		if err != nil || n == 0 {
			return err
		}
		tickets = int(n)
		_, err = tx.ExecContext(ctx, s.q(`UPDATE stock SET tickets = tickets + 1 WHERE sku = ?`), sku)
		return err
	})
	return tickets, err
}

// ship sends out what was paid, once, however often it is called.
func (s *shop) ship(ctx context.Context, sku string, buyer int) (sent bool, err error) {
	err = s.in(ctx, "ship", func(tx *sql.Tx) error {
		if err := s.fences.Seal(ctx, tx, guard.Key("order", sku, fmt.Sprint(buyer))); err != nil {
			return err
		}
		result, err := tx.ExecContext(ctx, s.q(`UPDATE sales SET shipped = 1 WHERE sku = ? AND buyer = ? AND paid = 1 AND shipped = 0`), sku, buyer)
		if err != nil {
			return err
		}
		n, err := result.RowsAffected()
		sent = n > 0
		return err
	})
	return sent, err
}

// in calls do within a transaction.
func (s *shop) in(ctx context.Context, doing string, do func(*sql.Tx) error) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	defer func() { _ = tx.Rollback() }() // does nothing after Commit
	if err := do(tx); err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("%s: commit: %w", doing, err)
	}
	return nil
}

// seal lets the database refuse all earlier runs. Without a guard there is no token,
// and nothing to refuse by.
func (s *shop) seal(ctx context.Context, tx sqlfence.Tx, sku string) error {
	err := s.fences.Seal(ctx, tx, "stock:"+sku)
	if errors.Is(err, sqlfence.ErrNoToken) {
		return nil
	}
	return err // also if the lease is lost by now, when guard.Fence has no token either
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// openShop opens a database, for one process.
func openShop(dsn string, think time.Duration) (*shop, error) {
	db, dialect, err := connect(dsn)
	if err != nil {
		return nil, err
	}
	fences, err := sqlfence.New(dialect, sqlfence.Table("fences"))
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return &shop{db: db, dialect: dialect, fences: fences, think: think}, nil
}

func (s *shop) close() { _ = s.db.Close() } // the database is about to be removed
