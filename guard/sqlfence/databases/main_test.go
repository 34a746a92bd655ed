package databases

import (
	"context"
	"database/sql"
	"path/filepath"
	"testing"

	_ "github.com/go-sql-driver/mysql"
	_ "github.com/jackc/pgx/v5/stdlib"
	"go.uber.org/goleak"
	_ "modernc.org/sqlite"

	"github.com/jobguard/jobguard/guard/sqlfence"
	"github.com/jobguard/jobguard/internal/sqltest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(sqltest.Main(m)) }

// A product is a database, its driver and its dialect.
type product struct {
	dialect sqlfence.Dialect
	driver  string
	dsn     func(t testing.TB) string // of an empty database
}

var products = map[string]product{
	"postgres": {sqlfence.Postgres, "pgx", func(t testing.TB) string { return sqltest.Postgres(t).DSN }},
	"mariadb":  {sqlfence.MySQL, "mysql", func(t testing.TB) string { return sqltest.MariaDB(t).DSN }},
	"sqlite": {sqlfence.SQLite, "sqlite", func(t testing.TB) string {
		return "file:" + filepath.Join(t.TempDir(), "test.db") + "?_pragma=busy_timeout(20000)&_pragma=journal_mode(WAL)&_txlock=immediate"
	}},
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
	for name, p := range products {
		t.Run(name, func(t *testing.T) {
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

// sealed runs work in a transaction that seals resource first.
func sealed(ctx context.Context, db *sql.DB, f *sqlfence.Fence, resource string, work func(tx *sql.Tx) error) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() // after Commit it does nothing
	if err := f.Seal(ctx, tx, resource); err != nil {
		return err
	}
	if err := work(tx); err != nil {
		return err
	}
	return tx.Commit()
}
