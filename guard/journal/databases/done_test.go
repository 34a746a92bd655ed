package databases

import (
	"context"
	"database/sql"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
	"github.com/jobguard/jobguard/guard/journal"
	"github.com/jobguard/jobguard/guard/journal/record"
	"github.com/jobguard/jobguard/guard/journal/sqllog"
	"github.com/jobguard/jobguard/guard/sqlfence"
)

var errWork = errors.New("work failed")

// bank is a database with a journal, and one account.
type bank struct {
	product
	t     *testing.T
	db    *sql.DB
	log   *sqllog.Log
	store *guardtest.Store
	j     *journal.Journal
	last  *record.Run // of left

	mu    sync.Mutex
	calls []journal.Record
}

func eachBank(t *testing.T, test func(t *testing.T, b *bank)) {
	for name, p := range products {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := &bank{product: p, t: t, db: p.open(t, p.dsn(t)), store: guardtest.NewStore()}
			b.log = p.log(t, b.db)
			_, err := b.db.ExecContext(t.Context(), "CREATE TABLE account (cents INTEGER NOT NULL)")
			must(t, err)
			_, err = b.db.ExecContext(t.Context(), "INSERT INTO account VALUES (0)")
			must(t, err)
			g, err := guard.New(b.store, guard.TTL(2*time.Second))
			must(t, err)
			b.j, err = journal.New(g, b.log)
			must(t, err)
			b.j.Handle("charge", func(_ context.Context, r journal.Record) error {
				b.mu.Lock()
				defer b.mu.Unlock()
				b.calls = append(b.calls, r)
				return nil
			})
			test(t, b)
		})
	}
}

// charge runs fn with a transaction that has charged the account and called Done.
func (b *bank) charge(fn func(ctx context.Context, tx *sql.Tx) error) error {
	b.t.Helper()
	return b.j.Do(b.t.Context(), "account:1", journal.Op{Kind: "charge", Payload: []byte("100")}, func(ctx context.Context) error {
		tx, err := b.db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		defer tx.Rollback() // after Commit it does nothing
		if err := sqllog.Done(ctx, tx); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "UPDATE account SET cents = cents + 100"); err != nil {
			return err
		}
		return fn(ctx, tx)
	})
}

// sweep runs the sweeper until nothing is open, and returns what handlers were called with.
func (b *bank) sweep() []journal.Record {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), 30*time.Second)
	defer cancel()
	done := make(chan struct{})
	go func() { defer close(done); _ = b.j.Run(ctx) }()
	for ctx.Err() == nil {
		s, err := b.j.Stats(ctx)
		must(b.t, err)
		if s.Open == 0 {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	cancel()
	<-done
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.calls
}

func (b *bank) cents() (n int) {
	b.t.Helper()
	must(b.t, b.db.QueryRowContext(b.t.Context(), "SELECT cents FROM account").Scan(&n))
	return n
}

func (b *bank) want(calls []journal.Record, reasons ...journal.Reason) {
	b.t.Helper()
	if len(calls) != len(reasons) {
		b.t.Fatalf("handlers were called with %+v, want %v", calls, reasons)
	}
	for i, r := range calls {
		if r.Reason != reasons[i] || string(r.Payload) != "100" {
			b.t.Errorf("call %d: %+v, want %s", i, r, reasons[i])
		}
	}
}

func TestRunIsDoneIfItsTransactionCommitsWhateverFnReturns(t *testing.T) {
	eachBank(t, func(t *testing.T, b *bank) {
		must(t, b.charge(func(_ context.Context, tx *sql.Tx) error { return tx.Commit() }))
		if err := b.charge(func(_ context.Context, tx *sql.Tx) error { return errors.Join(tx.Commit(), errWork) }); !errors.Is(err, errWork) {
			t.Errorf("Do() = %v", err)
		}
		err := b.charge(func(ctx context.Context, tx *sql.Tx) error {
			err := tx.Commit()
			b.store.Expire("account:1") // lost after the commit
			<-ctx.Done()
			return err
		})
		if !errors.Is(err, guard.ErrLost) {
			t.Errorf("Do() = %v, want ErrLost", err)
		}
		b.want(b.sweep())
		if n := b.cents(); n != 300 {
			t.Errorf("the account has %d", n)
		}
	})
}

func TestRunHasFailedIfItsTransactionIsRolledBackEvenIfFnReturnsNil(t *testing.T) {
	eachBank(t, func(t *testing.T, b *bank) {
		must(t, b.charge(func(_ context.Context, tx *sql.Tx) error { return tx.Rollback() }))
		b.want(b.sweep(), journal.Failed)
		if n := b.cents(); n != 0 {
			t.Errorf("the account has %d", n)
		}
	})
}

func TestOutcomeWaitsForATransactionWhoseCommitIsUnderWay(t *testing.T) {
	for name, commit := range map[string]bool{"committed": true, "rolled back": false} {
		t.Run(name, func(t *testing.T) {
			eachBank(t, func(t *testing.T, b *bank) {
				tx := b.left(errWork, func(tx *sql.Tx) {
					time.AfterFunc(1200*time.Millisecond, func() { _ = end(tx, commit) }) // read below
				})
				if calls := b.sweep(); commit {
					b.want(calls)
				} else {
					b.want(calls, journal.Failed)
				}
				if err := tx.Rollback(); !errors.Is(err, sql.ErrTxDone) {
					t.Errorf("the transaction was not ended: %v", err)
				}
			})
		})
	}
}

func TestClaimWaitsForATransactionWhoseCommitIsUnderWay(t *testing.T) {
	for name, commit := range map[string]bool{"committed": true, "rolled back": false} {
		t.Run(name, func(t *testing.T) {
			eachBank(t, func(t *testing.T, b *bank) {
				claimed := make(chan record.State, 1)
				var r *record.Run
				b.left(nil, func(tx *sql.Tx) {
					r = b.last
					go func() { // as a sweeper would, whose process takes this one for dead
						c, err := b.log.Claim(t.Context(), record.Claim{Ref: r.Ref(), By: "x", Fence: r.Fence + 1, Settled: true, Lap: time.Hour})
						if err != nil {
							t.Errorf("Claim() = %v", err)
						}
						claimed <- c.State
					}()
					select {
					case state := <-claimed:
						t.Errorf("Claim() = state %d while the transaction is open", state)
						claimed <- state
					case <-time.After(300 * time.Millisecond):
					}
					must(t, end(tx, commit))
				})
				want := record.Granted
				if commit {
					want = record.Finished
				}
				if state := <-claimed; state != want {
					t.Errorf("Claim() = state %d, want %d", state, want)
				}
			})
		})
	}
}

func end(tx *sql.Tx, commit bool) error {
	if commit {
		return tx.Commit()
	}
	return tx.Rollback()
}

// left is a run that calls Done and leaves its transaction open.
func (b *bank) left(result error, then func(tx *sql.Tx)) (tx *sql.Tx) {
	b.t.Helper()
	err := b.j.Do(b.t.Context(), "account:1", journal.Op{Kind: "charge", Payload: []byte("100")}, func(ctx context.Context) error {
		var err error
		if tx, err = b.db.BeginTx(context.WithoutCancel(ctx), nil); err != nil { // it outlives fn
			return err
		}
		if err := sqllog.Done(ctx, tx); err != nil {
			return err
		}
		b.last = record.RunOf(ctx)
		then(tx)
		return result
	})
	if !errors.Is(err, result) {
		b.t.Fatalf("Do() = %v", err)
	}
	return tx
}

func TestDoneComesTooLateOnceCompensationHasBegun(t *testing.T) {
	eachBank(t, func(t *testing.T, b *bank) {
		err := b.charge(func(_ context.Context, tx *sql.Tx) error { return tx.Rollback() })
		must(t, err)
		err = b.j.Do(t.Context(), "account:2", journal.Op{Kind: "charge", Payload: []byte("100")}, func(ctx context.Context) error {
			r := record.RunOf(ctx)
			claimed, err := b.log.Claim(ctx, record.Claim{Ref: r.Ref(), By: "x", Fence: r.Fence + 1, Settled: true, Lap: time.Hour})
			if err != nil || claimed.State != record.Granted {
				t.Errorf("Claim() = %+v, %v", claimed, err)
			}
			tx, err := b.db.BeginTx(ctx, nil)
			must(t, err)
			defer tx.Rollback()
			return sqllog.Done(ctx, tx)
		})
		if !errors.Is(err, guard.ErrLost) {
			t.Errorf("Done() = %v, want ErrLost", err)
		}
	})
}

func TestDoneSealsTheKey(t *testing.T) {
	eachBank(t, func(t *testing.T, b *bank) {
		fence, err := sqlfence.New(b.dialect)
		must(t, err)
		var old int64
		must(t, b.charge(func(ctx context.Context, tx *sql.Tx) error {
			old, _ = guard.Fence(ctx)
			return tx.Commit()
		}))
		var newest int64
		must(t, b.db.QueryRowContext(t.Context(), "SELECT max(token) FROM jobguard_fences").Scan(&newest))
		if newest != old {
			t.Errorf("the table of fences has %d, want the run's %d", newest, old)
		}
		must(t, b.charge(func(ctx context.Context, tx *sql.Tx) error {
			if err := fence.Seal(ctx, tx, "account:1"); err != nil { // again, by the same run
				return err
			}
			if err := sqllog.Done(ctx, tx); err != nil {
				return err
			}
			return tx.Commit()
		}))
		b.want(b.sweep())
	})
}

func TestDoneOutsideOfARunIsAnError(t *testing.T) {
	eachBank(t, func(t *testing.T, b *bank) {
		tx, err := b.db.BeginTx(t.Context(), nil)
		must(t, err)
		defer tx.Rollback()
		if err := sqllog.Done(t.Context(), tx); !errors.Is(err, sqllog.ErrNoRun) {
			t.Errorf("Done() = %v, want ErrNoRun", err)
		}
		g, err := guard.New(guardtest.NewStore())
		must(t, err)
		j, err := journal.New(g, guardtest.NewLog())
		must(t, err)
		must(t, j.Do(t.Context(), "k", journal.Op{Kind: "charge"}, func(ctx context.Context) error {
			if err := sqllog.Done(ctx, tx); !errors.Is(err, sqllog.ErrNoRun) {
				t.Errorf("Done() = %v under another log, want ErrNoRun", err)
			}
			return nil
		}))
	})
}

func TestCheckpointOnSQLiteDoesNotWaitForTheRunsOwnTransaction(t *testing.T) {
	eachBank(t, func(t *testing.T, b *bank) {
		must(t, b.charge(func(ctx context.Context, tx *sql.Tx) error {
			if b.dialect == sqlfence.SQLite {
				start := time.Now()
				if err := journal.Checkpoint(ctx, []byte("x")); !errors.Is(err, sqllog.ErrTransaction) || time.Since(start) > 5*time.Second {
					t.Errorf("Checkpoint() = %v after %v", err, time.Since(start))
				}
			}
			if err := tx.Rollback(); err != nil {
				return err
			}
			must(t, journal.Checkpoint(ctx, []byte("x")))
			if b.dialect == sqlfence.SQLite { // a transaction that the log does not know of
				other, err := b.db.BeginTx(ctx, nil)
				must(t, err)
				defer other.Rollback()
				_, err = other.ExecContext(ctx, "UPDATE account SET cents = 7")
				must(t, err)
				start := time.Now()
				if err := journal.Checkpoint(ctx, []byte("y")); err == nil || time.Since(start) > 5*time.Second {
					t.Errorf("Checkpoint() = %v after %v", err, time.Since(start))
				}
			}
			return nil
		}))
	})
}

func TestTablesCanBeNamedAndMigratedByManyAtOnce(t *testing.T) {
	for name, p := range products {
		t.Run(name, func(t *testing.T) {
			db := p.open(t, p.dsn(t))
			var wg sync.WaitGroup
			for range 8 {
				wg.Go(func() {
					l, err := sqllog.New(db, p.dialect, sqllog.Table("my_runs"), sqllog.FenceTable("my_fences"))
					if err == nil {
						err = l.Migrate(t.Context())
					}
					if err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			for _, table := range []string{"my_runs", "my_fences"} {
				var n int
				must(t, db.QueryRowContext(t.Context(), "SELECT count(*) FROM "+table).Scan(&n))
			}
			for _, opt := range []sqllog.Option{sqllog.Table("a; drop"), sqllog.Table(""), sqllog.FenceTable("x y"), nil} {
				if _, err := sqllog.New(db, p.dialect, opt); err == nil {
					t.Error("New() took an option that is out of bounds")
				}
			}
			if _, err := sqllog.New(db, "oracle"); err == nil {
				t.Error("New() took an unknown dialect")
			}
		})
	}
}
