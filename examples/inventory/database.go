package main

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver of PostgreSQL
	_ "modernc.org/sqlite"             // that of SQLite

	"github.com/jobguard/jobguard/guard/sqlfence"
)

// databases makes databases of this run's own, and removes them.
type databases struct {
	what    string // for people
	create  func(ctx context.Context, name string) (dsn string, err error)
	destroy func() error
}

// openDatabases keeps them in files, or if server is not empty, as schemas of that
// PostgreSQL.
func openDatabases(ctx context.Context, server string) (*databases, error) {
	if server == "" {
		dir, err := os.MkdirTemp("", "inventory-")
		if err != nil {
			return nil, fmt.Errorf("make a directory for the database: %w", err)
		}
		return &databases{
			what:    "SQLite (-db postgres://… takes PostgreSQL)",
			create:  func(_ context.Context, name string) (string, error) { return filepath.Join(dir, name+".db"), nil },
			destroy: func() error { return os.RemoveAll(dir) },
		}, nil
	}

	db, err := sql.Open("pgx", server)
	if err != nil {
		return nil, fmt.Errorf("-db: %w", err)
	}
	if err := db.PingContext(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("cannot reach PostgreSQL: %w", err), db.Close())
	}
	d := &schemas{server: server, db: db}
	return &databases{what: "PostgreSQL", create: d.create, destroy: d.destroy}, nil
}

// schemas are those that were made in a PostgreSQL.
type schemas struct {
	server string
	db     *sql.DB
	names  []string
}

func (d *schemas) create(ctx context.Context, name string) (string, error) {
	u, err := url.Parse(d.server)
	if err != nil {
		return "", err
	}
	schema := strings.ToLower("inventory_" + name + "_" + rand.Text()[:8])
	d.names = append(d.names, schema) // it may be there also if we hear of an error
	if _, err := d.db.ExecContext(ctx, "CREATE SCHEMA "+schema); err != nil {
		return "", fmt.Errorf("create a schema: %w", err)
	}
	q := u.Query()
	q.Set("search_path", schema)
	u.RawQuery = q.Encode()
	return u.String(), nil
}

func (d *schemas) destroy() error {
	// It is most needed when the program's context has ended.
	ctx, cancel := context.WithTimeout(context.Background(), tidying)
	defer cancel()
	var errs []error
	for _, name := range d.names {
		if _, err := d.db.ExecContext(ctx, "DROP SCHEMA IF EXISTS "+name+" CASCADE"); err != nil {
			errs = append(errs, fmt.Errorf("drop the schema %s: %w", name, err))
		}
	}
	return errors.Join(append(errs, d.db.Close())...)
}

// isPostgres tells it from the path of a file.
func isPostgres(dsn string) bool {
	return strings.HasPrefix(dsn, "postgres://") || strings.HasPrefix(dsn, "postgresql://")
}

// connect opens a database that was created, for one process. Its transactions line up
// for one connection: SQLite has one writer at a time anyway, and a replica that is
// stalled in one transaction must not hold the locks of another, at which all would wait.
func connect(dsn string) (*sql.DB, sqlfence.Dialect, error) {
	driver, dialect := "pgx", sqlfence.Postgres
	if !isPostgres(dsn) {
		q := url.Values{}
		q.Add("_pragma", "busy_timeout(15000)")
		q.Add("_pragma", "journal_mode(WAL)")
		q.Add("_pragma", "synchronous(OFF)") // need not survive the machine
		driver, dialect, dsn = "sqlite", sqlfence.SQLite, dsn+"?"+q.Encode()
	}
	db, err := sql.Open(driver, dsn)
	if err != nil {
		return nil, "", fmt.Errorf("open the database: %w", err)
	}
	db.SetMaxOpenConns(1)
	return db, dialect, nil
}

// q is a statement with ? for its arguments, as the database wants it.
func (s *shop) q(statement string) string {
	if s.dialect != sqlfence.Postgres {
		return statement
	}
	var b strings.Builder
	for n, part := range strings.Split(statement, "?") {
		if n > 0 {
			b.WriteString("$" + strconv.Itoa(n))
		}
		b.WriteString(part)
	}
	return b.String()
}
