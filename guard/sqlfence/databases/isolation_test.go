package databases

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/jobguard/jobguard/guard/sqlfence"
	"github.com/jobguard/jobguard/internal/sqltest"
)

// eachLevel runs test under every isolation level of every product, with a row n = 0 in
// table t.
func eachLevel(t *testing.T, test func(t *testing.T, p product, level sql.IsolationLevel, db *sql.DB, f *sqlfence.Fence)) {
	snapshots := product{"mariadb-snapshot-isolation", sqlfence.MySQL, "mysql", func(t testing.TB) string {
		return sqltest.MariaDB(t).DSN + "?innodb_snapshot_isolation=ON"
	}}
	for _, p := range append([]product{snapshots}, products...) {
		levels := []sql.IsolationLevel{sql.LevelReadCommitted, sql.LevelRepeatableRead, sql.LevelSerializable}
		if p.dialect == sqlfence.SQLite {
			levels = []sql.IsolationLevel{sql.LevelDefault}
		}
		for _, level := range levels {
			t.Run(p.name+" "+level.String(), func(t *testing.T) {
				db := open(t, p.driver, p.dsn(t))
				f := newFence(t, p.dialect)
				must(t, f.Migrate(t.Context(), db))
				statements(t, db, "CREATE TABLE t (n int NOT NULL)", "INSERT INTO t VALUES (0)")
				test(t, p, level, db, f)
			})
		}
	}
}

// retryable is how the databases say that a transaction is to be begun again.
func retryable(err error) bool {
	var pg *pgconn.PgError
	var my *mysql.MySQLError
	switch {
	case errors.As(err, &pg):
		return pg.Code == "40001" || pg.Code == "40P01"
	case errors.As(err, &my):
		return my.Number == 1020 || my.Number == 1205 || my.Number == 1213
	}
	return busy(err)
}

// A stale run has read before it seals, so it has a snapshot from before the later seal.
func TestStaleRunWithAnOldSnapshotIsRefused(t *testing.T) {
	eachLevel(t, func(t *testing.T, p product, level sql.IsolationLevel, db *sql.DB, f *sqlfence.Fence) {
		for _, before := range []int64{0, 5} { // without a row, and with one
			resource := fmt.Sprint("r", before)
			if before > 0 {
				tx := begin(t, db, level)
				must(t, seal(t, f, tx, resource, before))
				must(t, tx.Commit())
			}
			late := begin(t, db, level)
			number(t, late, "SELECT n FROM t")
			number(t, late, "SELECT count(*) FROM jobguard_fences WHERE token > 0 AND token < 0")
			if p.dialect == sqlfence.MySQL && level == sql.LevelSerializable {
				// Its reads have locked the table of fences: the later seal waits.
				must(t, late.Rollback())
				late = begin(t, db, level)
				number(t, late, "SELECT n FROM t")
			}
			newer := begin(t, db, level)
			must(t, seal(t, f, newer, resource, 7))
			must(t, newer.Commit())

			if err := seal(t, f, late, resource, 6); !retryable(err) {
				isStale(t, err, 6, 7)
			}
			must(t, late.Rollback())
			refused(t, f, db, resource, 6, 7)
		}
	})
}

// The rightful later run waits for the earlier one, begins again if the database wants
// it, and reads what the earlier one has written.
func TestNextRunSeesWhatTheOneBeforeHasWritten(t *testing.T) {
	eachLevel(t, func(t *testing.T, p product, level sql.IsolationLevel, db *sql.DB, f *sqlfence.Fence) {
		for token := int64(1); token < 5; token += 2 { // first without a row, then with one
			first := begin(t, db, level)
			must(t, seal(t, f, first, "r", token))
			_, err := first.ExecContext(t.Context(), "UPDATE t SET n = n + 1")
			must(t, err)

			attempts, read, last := 0, int64(0), error(nil)
			second := make(chan error, 1)
			go func() {
				second <- withToken(t.Context(), t, token+1, func(ctx context.Context) error {
					for {
						attempts++
						err := attempt(ctx, db, level, f, &read)
						if !retryable(err) {
							return err
						}
						last = err
					}
				})
			}()
			awaitWaiter(t, p, db)
			must(t, first.Commit())
			must(t, <-second)
			if read != token {
				t.Errorf("the second run read %d, want %d", read, token)
			}
			if again := attempts > 1; again != startsAgain(p, level) {
				t.Errorf("%d attempts, the last error was %v", attempts, last)
			}
			_, err = db.ExecContext(t.Context(), "UPDATE t SET n = n + 1")
			must(t, err)
		}
	})
}

// startsAgain reports whether a database refuses also the rightful run that has waited.
func startsAgain(p product, level sql.IsolationLevel) bool {
	switch p.name {
	case "postgres": // 40001
		return level != sql.LevelReadCommitted
	case "mariadb-snapshot-isolation": // 1020
		return level == sql.LevelSerializable
	}
	return false
}

func attempt(ctx context.Context, db *sql.DB, level sql.IsolationLevel, f *sqlfence.Fence, read *int64) error {
	tx, err := db.BeginTx(ctx, &sql.TxOptions{Isolation: level})
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // it may have ended
	if err := f.Seal(ctx, tx, "r"); err != nil {
		return err
	}
	if err := tx.QueryRowContext(ctx, "SELECT n FROM t").Scan(read); err != nil {
		return err
	}
	return tx.Commit()
}

// awaitWaiter returns when a transaction waits for a lock.
func awaitWaiter(t testing.TB, p product, db *sql.DB) {
	t.Helper()
	query := map[sqlfence.Dialect]string{
		sqlfence.Postgres: "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'",
		sqlfence.MySQL:    "SELECT count(*) FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'",
	}[p.dialect]
	if query == "" {
		time.Sleep(100 * time.Millisecond) // SQLite's waiter polls; one that is late waits as well
		return
	}
	// MariaDB looks anew only if 100 ms have passed since the last look.
	for end := time.Now().Add(waitLimit); ; {
		time.Sleep(120 * time.Millisecond)
		if number(t, db, query) > 0 {
			return
		}
		if time.Now().After(end) {
			t.Fatal("no transaction waits for the lock")
		}
	}
}
