package databases

import (
	"context"
	"database/sql"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/jobguard/jobguard/guard/sqlfence"
)

func TestLowerTokenAfterAHigherOneIsRefused(t *testing.T) {
	eachProduct(t, func(t *testing.T, _ product, db *sql.DB, f *sqlfence.Fence) {
		commit := func(token int64) error {
			return withToken(t.Context(), t, token, func(ctx context.Context) error {
				return sealed(ctx, db, f, "order:42", func(*sql.Tx) error { return nil })
			})
		}
		must(t, commit(5))
		must(t, commit(7))
		must(t, commit(7))
		isStale(t, commit(6), 6, 7)
		must(t, commit(math.MaxInt64))
		isStale(t, commit(8), 8, math.MaxInt64)
	})
}

func TestSealWithTheSameTokenIsFineHoweverOften(t *testing.T) {
	for _, p := range append([]product{
		{"mariadb-found-rows", sqlfence.MySQL, "mysql", withParameters("clientFoundRows=true")},
		{"mariadb-text-protocol", sqlfence.MySQL, "mysql", withParameters("interpolateParams=true")},
		{"mariadb-text-found-rows", sqlfence.MySQL, "mysql", withParameters("interpolateParams=true&clientFoundRows=true")},
		{"pgx-simple-protocol", sqlfence.Postgres, "pgx", withParameters("default_query_exec_mode=simple_protocol")},
		{"pgx-exec", sqlfence.Postgres, "pgx", withParameters("default_query_exec_mode=exec")},
		{"pgx-cache-describe", sqlfence.Postgres, "pgx", withParameters("default_query_exec_mode=cache_describe")},
	}, products...) {
		t.Run(p.name, func(t *testing.T) {
			db := open(t, p.driver, p.dsn(t))
			f := newFence(t, p.dialect)
			must(t, f.Migrate(t.Context(), db))
			for range 3 {
				tx := begin(t, db, sql.LevelDefault)
				for range 3 {
					must(t, seal(t, f, tx, "r", 7))
				}
				must(t, tx.Commit())
			}
			refused(t, f, db, "r", 6, 7)
		})
	}
}

func TestTokenOfARollbackIsForgotten(t *testing.T) {
	eachProduct(t, func(t *testing.T, _ product, db *sql.DB, f *sqlfence.Fence) {
		tx := begin(t, db, sql.LevelDefault)
		must(t, seal(t, f, tx, "r", 9))
		must(t, tx.Rollback())
		tx = begin(t, db, sql.LevelDefault)
		must(t, seal(t, f, tx, "r", 8))
		must(t, tx.Commit())
	})
}

// The second seal of a resource, also its first ever, waits for the transaction of the
// first; those of other resources do not, but in SQLite, which has one writer.
func TestRowIsLockedUntilTheTransactionEnds(t *testing.T) {
	for _, end := range []string{"commit", "rollback"} {
		t.Run(end, func(t *testing.T) {
			eachProduct(t, func(t *testing.T, p product, db *sql.DB, f *sqlfence.Fence) {
				if end == "commit" { // the row is there before
					tx := begin(t, db, sql.LevelDefault)
					must(t, seal(t, f, tx, "r", 1))
					must(t, tx.Commit())
				}
				first := begin(t, db, sql.LevelDefault)
				must(t, seal(t, f, first, "r", 7))
				second := make(chan error, 1)
				go func() {
					second <- withToken(t.Context(), t, 6, func(ctx context.Context) error {
						return sealed(ctx, db, f, "r", func(*sql.Tx) error { return nil })
					})
				}()
				if p.dialect != sqlfence.SQLite {
					other := begin(t, db, sql.LevelDefault)
					for _, name := range []string{"q", "s"} { // beside it
						must(t, seal(t, f, other, name, 1))
					}
					must(t, other.Rollback())
				}
				select {
				case err := <-second:
					t.Fatalf("the second did not wait: %v", err)
				case <-time.After(300 * time.Millisecond):
				}
				if end == "rollback" {
					must(t, first.Rollback())
					must(t, <-second)
				} else {
					must(t, first.Commit())
					isStale(t, <-second, 6, 7)
				}
			})
		})
	}
}

func TestResourcesAreComparedByteByByte(t *testing.T) {
	long := strings.Repeat("x", 254)
	names := []string{
		"a", "A", "a ", " a", "a\x00", "\x00", "\xff\xfe", "ä", "a\u0308", "Ä", "ss", "ß", "'", `\`, `"`, "`", "$1", "?", "%", "\n",
		"NULL", "0", "00", "1e1", "\\x61", "x'61'", "日本", "I", "ı", long + "y", long + "z", long,
	}
	eachProduct(t, func(t *testing.T, _ product, db *sql.DB, f *sqlfence.Fence) {
		tx := begin(t, db, sql.LevelDefault)
		for i, name := range names {
			must(t, seal(t, f, tx, name, int64(1000-i)))
		}
		must(t, tx.Commit())
		for i, name := range names {
			refused(t, f, db, name, 1, int64(1000-i))
		}
		if n := number(t, db, "SELECT count(*) FROM jobguard_fences"); n != int64(len(names)) {
			t.Errorf("%d rows for %d resources", n, len(names))
		}
	})
}

// A caller that takes no notice of the error of Seal.
func TestOnlyPostgresRefusesTheCommitOfAStaleTransaction(t *testing.T) {
	eachProduct(t, func(t *testing.T, p product, db *sql.DB, f *sqlfence.Fence) {
		statements(t, db, "CREATE TABLE t (n int)")
		tx := begin(t, db, sql.LevelDefault)
		must(t, seal(t, f, tx, "r", 7))
		must(t, tx.Commit())

		tx = begin(t, db, sql.LevelDefault)
		_, err := tx.ExecContext(t.Context(), "INSERT INTO t VALUES (1)")
		must(t, err)
		isStale(t, seal(t, f, tx, "r", 6), 6, 7)
		committed := tx.Commit() == nil
		written := number(t, db, "SELECT count(*) FROM t") == 1
		if want := p.dialect != sqlfence.Postgres; committed != want || written != want {
			t.Errorf("committed: %t, written: %t, want %t", committed, written, want)
		}
	})
}

// A savepoint is the way to do something else in a transaction that was refused.
func TestTransactionGoesOnFromASavepoint(t *testing.T) {
	eachProduct(t, func(t *testing.T, _ product, db *sql.DB, f *sqlfence.Fence) {
		tx := begin(t, db, sql.LevelDefault)
		must(t, seal(t, f, tx, "r", 7))
		must(t, tx.Commit())

		tx = begin(t, db, sql.LevelDefault)
		_, err := tx.ExecContext(t.Context(), "SAVEPOINT s")
		must(t, err)
		isStale(t, seal(t, f, tx, "r", 6), 6, 7)
		_, err = tx.ExecContext(t.Context(), "ROLLBACK TO SAVEPOINT s")
		must(t, err)
		must(t, seal(t, f, tx, "refused", 6))
		must(t, tx.Commit())
		refused(t, f, db, "refused", 5, 6)
	})
}

// On a connection, as SQLite's BEGIN IMMEDIATE needs it.
func TestConnWithATransactionIsATx(t *testing.T) {
	eachProduct(t, func(t *testing.T, _ product, db *sql.DB, f *sqlfence.Fence) {
		conn, err := db.Conn(t.Context())
		must(t, err)
		defer conn.Close()
		do := func(statement string) {
			_, err := conn.ExecContext(t.Context(), statement)
			must(t, err)
		}
		do("BEGIN")
		must(t, seal(t, f, conn, "r", 7))
		do("COMMIT")
		do("BEGIN")
		isStale(t, seal(t, f, conn, "r", 6), 6, 7)
		do("ROLLBACK")
	})
}

// Many runs at once seal a resource that has no row yet: none fails for it.
func TestFirstSealsAtOnce(t *testing.T) {
	eachProduct(t, func(t *testing.T, _ product, db *sql.DB, f *sqlfence.Fence) {
		for round := range 5 {
			resource := fmt.Sprint("r", round)
			errs := make(chan error)
			for token := range int64(8) {
				go func() {
					errs <- withToken(t.Context(), t, token+1, func(ctx context.Context) error {
						return sealed(ctx, db, f, resource, func(*sql.Tx) error { return nil })
					})
				}()
			}
			fine := 0
			for range 8 {
				if err := <-errs; err == nil {
					fine++
				} else if !strings.Contains(err.Error(), sqlfence.ErrStale.Error()) {
					t.Error(err)
				}
			}
			if fine == 0 {
				t.Error("no seal went through")
			}
			refused(t, f, db, resource, 7, 8)
		}
	})
}
