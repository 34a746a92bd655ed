package databases

import (
	"database/sql"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"testing"

	_ "github.com/go-sql-driver/mysql"
	_ "github.com/jackc/pgx/v5/stdlib"
	"go.uber.org/goleak"
	_ "modernc.org/sqlite"

	"github.com/jobguard/jobguard/guard/journal/logtest"
	"github.com/jobguard/jobguard/guard/journal/sqllog"
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
		return "file:" + filepath.Join(t.TempDir(), "test.db") + "?_pragma=busy_timeout(20000)&_pragma=journal_mode(WAL)"
	}},
}

// open opens a database that closes with the test.
func (p product) open(t testing.TB, dsn string) *sql.DB {
	t.Helper()
	db, err := sql.Open(p.driver, dsn)
	must(t, err)
	t.Cleanup(func() { _ = db.Close() }) // what matters has been committed
	return db
}

var tables atomic.Int64

// log makes a log in tables of its own.
func (p product) log(t testing.TB, db *sql.DB, opts ...sqllog.Option) *sqllog.Log {
	t.Helper()
	l, err := sqllog.New(db, p.dialect, opts...)
	must(t, err)
	must(t, l.Migrate(t.Context()))
	return l
}

func TestConformance(t *testing.T) {
	for name, p := range products {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dsn := p.dsn(t)
			a, b := p.open(t, dsn), p.open(t, dsn)
			logtest.Run(t, func(t *testing.T) logtest.Fixture {
				table := sqllog.Table(fmt.Sprint("runs", tables.Add(1)))
				return logtest.Fixture{A: p.log(t, a, table), B: p.log(t, b, table)}
			})
		})
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
