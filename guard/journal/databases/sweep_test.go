package databases

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/jobguard/jobguard/guard/journal/record"
	"github.com/jobguard/jobguard/guard/sqlfence"
)

// series is a table of the numbers from 1 to n, as n.
var series = map[sqlfence.Dialect]string{
	sqlfence.Postgres: "generate_series(1, %d) AS s(n)",
	sqlfence.MySQL:    "(SELECT seq AS n FROM seq_1_to_%d) AS s",
	sqlfence.SQLite:   "(WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < %d) SELECT n FROM s) AS s",
}

// fill writes records of a state: due, dead or forgotten at a time.
func (p product) fill(t testing.TB, db *sql.DB, state string, records int, at time.Time) {
	t.Helper()
	id, key := "'"+state+"' || n", "CAST('k' || n AS bytea)"
	switch p.dialect {
	case sqlfence.MySQL:
		id, key = "concat('"+state+"', n)", "concat('k', n)"
	case sqlfence.SQLite:
		key = "CAST('k' || n AS blob)"
	}
	_, err := db.ExecContext(t.Context(), fmt.Sprintf(`INSERT INTO jobguard_journal
(id, state, kind, record_key, reason, fence, attempt, started, moment, claim_id, claimed, answer, again, busy, checkpoints)
SELECT %s, '%s', 'charge', %s, '', 1, 0, 1, %d, '', 0, -1, 0, 0, 0 FROM `+series[p.dialect], id, state, key, at.UnixMicro(), records))
	must(t, err)
}

func take(t testing.TB, l record.Log) []record.Due {
	t.Helper()
	due, err := l.Take(t.Context(), record.Take{Kinds: []string{"charge"}, Max: 32, Lap: time.Hour})
	must(t, err)
	return due
}

// What is finished, or not due yet, costs a sweep nothing: its statements use the indexes.
func TestSweepReadsOnlyWhatIsDue(t *testing.T) {
	reads := map[string]func(t testing.TB, db *sql.DB) int{
		"postgres": func(t testing.TB, db *sql.DB) (n int) {
			_, err := db.ExecContext(t.Context(), "SELECT pg_stat_force_next_flush()")
			must(t, err)
			must(t, db.QueryRowContext(t.Context(), `SELECT coalesce(sum(idx_tup_read), 0) + (SELECT seq_tup_read FROM pg_stat_user_tables WHERE relname = 'jobguard_journal')
FROM pg_stat_user_indexes WHERE relname = 'jobguard_journal'`).Scan(&n))
			return n
		},
		"mariadb": func(t testing.TB, db *sql.DB) (n int) {
			must(t, db.QueryRowContext(t.Context(), `SELECT sum(variable_value) FROM information_schema.session_status
WHERE variable_name IN ('Handler_read_next', 'Handler_read_prev', 'Handler_read_rnd', 'Handler_read_rnd_next')`).Scan(&n))
			return n
		},
	}
	for name, read := range reads {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := products[name]
			db := p.open(t, p.dsn(t))
			db.SetMaxOpenConns(1) // whose reads are counted
			l := p.log(t, db)
			const finished, open, due = 20_000, 5000, 40
			p.fill(t, db, "done", finished, time.Now().Add(time.Hour))
			p.fill(t, db, "compensated", finished, time.Now().Add(time.Hour))
			p.fill(t, db, "open", open, time.Now().Add(time.Hour))
			_, err := db.ExecContext(t.Context(), "ANALYZE "+map[bool]string{true: "TABLE "}[p.dialect == sqlfence.MySQL]+"jobguard_journal")
			must(t, err)
			for i := range due {
				_, err := l.Begin(t.Context(), record.Intent{Record: record.Record{ID: fmt.Sprint("due", i), Kind: "charge", Key: "k", Fence: 2}, MaxOpen: 1 << 20})
				must(t, err)
			}
			before := read(t, db)
			taken := 0
			for range 3 {
				taken += len(take(t, l))
			}
			n := read(t, db) - before
			t.Logf("%d rows read", n)
			if taken != due {
				t.Errorf("%d records were taken, want %d", taken, due)
			}
			if n > 1000 {
				t.Errorf("three sweeps read %d rows: those of %d finished records and %d that are not due", n, 2*finished, open)
			}
		})
	}
}

func TestOldRecordsThatCannotBeDeletedHoldUpNoSweep(t *testing.T) {
	for _, name := range []string{"postgres", "mariadb"} { // on SQLite a lock is one on all
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := products[name]
			db := p.open(t, p.dsn(t))
			l := p.log(t, db)
			p.fill(t, db, "done", 3, time.Now().Add(-time.Hour))
			p.fill(t, db, "open", 2, time.Now().Add(-time.Hour))
			tx, err := db.BeginTx(t.Context(), nil)
			must(t, err)
			defer tx.Rollback()
			_, err = tx.ExecContext(t.Context(), "UPDATE jobguard_journal SET busy = 1 WHERE state = 'done'")
			must(t, err)
			// All of its time is spent on the deletion, which waits for the lock.
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			due, err := l.Take(ctx, record.Take{Kinds: []string{"charge"}, Max: 32, Lap: time.Hour})
			if err != nil || len(due) != 2 {
				t.Errorf("Take() = %d records, %v; want the 2 that it took", len(due), err)
			}
			ctx, cancel = context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if _, err := l.Take(ctx, record.Take{Kinds: []string{"charge"}, Max: 32, Lap: time.Hour}); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Take() = %v with nothing due, want the trouble", err)
			}
		})
	}
}

func TestSweepForgetsAsFastAsRunsFinish(t *testing.T) {
	for name, p := range products {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := p.open(t, p.dsn(t))
			l := p.log(t, db)
			p.fill(t, db, "done", 1900, time.Now().Add(-time.Hour))
			p.fill(t, db, "dead", 7, time.Now().Add(-time.Hour))
			p.fill(t, db, "compensated", 300, time.Now().Add(time.Hour))
			take(t, l)
			var left int
			must(t, db.QueryRowContext(t.Context(), "SELECT count(*) FROM jobguard_journal").Scan(&left))
			if left != 307 {
				t.Errorf("%d records are left after a sweep, want the 7 dead ones and the 300 whose retention is not over", left)
			}
		})
	}
}

func TestRecordsThatAreDroppedWhileTheyAreListed(t *testing.T) {
	for name, p := range products {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := p.open(t, p.dsn(t))
			l := p.log(t, db)
			const dead = 3000
			p.fill(t, db, "dead", dead, time.Now())
			dropped := make(chan error)
			go func() {
				time.Sleep(50 * time.Millisecond) // the list has been read, and is looked through
				_, err := db.ExecContext(t.Context(), "DELETE FROM jobguard_journal")
				dropped <- err
			}()
			listed, _, err := l.Dead(t.Context(), "", dead)
			must(t, err)
			t.Logf("%d of %d listed", len(listed), dead)
			must(t, <-dropped)
		})
	}
}

// A busy_timeout, or a lock of another transaction, outlasts no context.
func TestCallsReturnWithTheirContextWhileAnotherTransactionWrites(t *testing.T) {
	for name, p := range products {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := p.open(t, p.dsn(t))
			l := p.log(t, db)
			in := record.Intent{Record: record.Record{ID: "x", Kind: "charge", Key: "k", Fence: 1}, MaxOpen: 9}
			_, err := l.Begin(t.Context(), in)
			must(t, err)
			tx, err := db.BeginTx(t.Context(), nil)
			must(t, err)
			defer tx.Rollback()
			_, err = tx.ExecContext(t.Context(), "UPDATE jobguard_journal SET busy = 1")
			must(t, err)
			for call, do := range map[string]func(ctx context.Context) error{
				"End": func(ctx context.Context) error {
					return l.End(ctx, record.End{Record: in.Record, Outcome: record.EndDone, Retain: time.Hour})
				},
				"Claim": func(ctx context.Context) error {
					_, err := l.Claim(ctx, record.Claim{Ref: in.Ref(), By: "y", Fence: 2, Settled: true, Lap: time.Hour})
					return err
				},
			} {
				ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
				start := time.Now()
				err := do(ctx)
				cancel()
				t.Logf("%s: %v after %v", call, err, time.Since(start))
				if took := time.Since(start); !errors.Is(err, context.DeadlineExceeded) || took > 5*time.Second {
					t.Errorf("%s() = %v after %v, want the context's end", call, err, took)
				}
			}
		})
	}
}
