package databases

import (
	"context"
	"database/sql"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	_ "github.com/go-sql-driver/mysql"
	_ "github.com/jackc/pgx/v5/stdlib"
	"go.uber.org/goleak"
	"modernc.org/sqlite"

	"github.com/jobguard/jobguard/guard/sqlfence"
	"github.com/jobguard/jobguard/internal/sqltest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(sqltest.Main(m)) }

// waitLimit bounds each wait; a busy machine stays below.
const waitLimit = 30 * time.Second

// A product is a database, its driver and its dialect.
type product struct {
	name    string
	dialect sqlfence.Dialect
	driver  string
	dsn     func(t testing.TB) string // of an empty database
}

var products = []product{
	{"postgres", sqlfence.Postgres, "pgx", func(t testing.TB) string { return sqltest.Postgres(t).DSN }},
	{"mariadb", sqlfence.MySQL, "mysql", func(t testing.TB) string { return sqltest.MariaDB(t).DSN }},
	{"sqlite", sqlfence.SQLite, "sqlite", func(t testing.TB) string {
		return "file:" + filepath.Join(t.TempDir(), "test.db") + "?_pragma=busy_timeout(20000)&_pragma=journal_mode(WAL)"
	}},
}

// withParameters adds parameters to the DSN of the product that takes them.
func withParameters(parameters string) func(testing.TB) string {
	return func(t testing.TB) string {
		if strings.HasPrefix(parameters, "default_query_exec_mode") {
			return sqltest.Postgres(t).DSN + "?" + parameters
		}
		return sqltest.MariaDB(t).DSN + "?" + parameters
	}
}

// open opens a database that closes with the test.
func open(t testing.TB, driver, dsn string) *sql.DB {
	t.Helper()
	db, err := sql.Open(driver, dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() }) // what matters has been committed
	return db
}

// eachProduct runs test on every product, with an empty database and a fence on it.
func eachProduct(t *testing.T, test func(t *testing.T, p product, db *sql.DB, f *sqlfence.Fence)) {
	for _, p := range products {
		t.Run(p.name, func(t *testing.T) {
			db := open(t, p.driver, p.dsn(t))
			f := newFence(t, p.dialect)
			if err := f.Migrate(t.Context(), db); err != nil {
				t.Fatal(err)
			}
			test(t, p, db, f)
		})
	}
}

func newFence(t testing.TB, d sqlfence.Dialect, opts ...sqlfence.Option) *sqlfence.Fence {
	t.Helper()
	f, err := sqlfence.New(d, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// must fails the test for an error.
func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// statements runs statements.
func statements(t testing.TB, db *sql.DB, statements ...string) {
	t.Helper()
	for _, s := range statements {
		if _, err := db.ExecContext(t.Context(), s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}

// begin begins a transaction that is rolled back with the test, if it has not ended.
func begin(t testing.TB, db *sql.DB, level sql.IsolationLevel) *sql.Tx {
	t.Helper()
	tx, err := db.BeginTx(t.Context(), &sql.TxOptions{Isolation: level})
	must(t, err)
	t.Cleanup(func() { _ = tx.Rollback() }) // it may have ended
	return tx
}

// number reads one.
func number(t testing.TB, q interface {
	QueryRowContext(context.Context, string, ...any) *sql.Row
}, query string) (n int64) {
	t.Helper()
	if err := q.QueryRowContext(t.Context(), query).Scan(&n); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return n
}

// seal seals resource in tx with a token.
func seal(t testing.TB, f *sqlfence.Fence, tx sqlfence.Tx, resource string, token int64) error {
	t.Helper()
	return withToken(t.Context(), t, token, func(ctx context.Context) error { return f.Seal(ctx, tx, resource) })
}

// isStale checks an error of seal.
func isStale(t testing.TB, err error, token, newest int64) {
	t.Helper()
	var stale *sqlfence.StaleError
	if !errors.Is(err, sqlfence.ErrStale) || !errors.As(err, &stale) || stale.Token != token || stale.Newest != newest {
		t.Errorf("got %v, want a StaleError of token %d after %d", err, token, newest)
	}
}

// busy tells SQLite's error for a database that another connection writes to.
func busy(err error) bool {
	var lite *sqlite.Error
	return errors.As(err, &lite) && lite.Code()&0xff == 5
}

// refused checks that token is after newest.
func refused(t testing.TB, f *sqlfence.Fence, db *sql.DB, resource string, token, newest int64) {
	t.Helper()
	tx := begin(t, db, sql.LevelDefault)
	isStale(t, seal(t, f, tx, resource, token), token, newest)
	must(t, tx.Rollback())
}

// sealed runs work in a transaction that seals resource first.
func sealed(ctx context.Context, db *sql.DB, f *sqlfence.Fence, resource string, work func(tx *sql.Tx) error) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // after Commit it does nothing
	if err := f.Seal(ctx, tx, resource); err != nil {
		return err
	}
	if err := work(tx); err != nil {
		return err
	}
	return tx.Commit()
}
