package sqlfence

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"regexp"

	"github.com/jobguard/jobguard/guard/internal/option"
)

// Dialect is the SQL of a database.
type Dialect string

// The dialects, tested on PostgreSQL 15, MariaDB 10.11 and SQLite (modernc.org/sqlite). The
// versions are those whose manuals have the statements.
const (
	Postgres Dialect = "postgres" // PostgreSQL 9.5 or later
	MySQL    Dialect = "mysql"    // MySQL 5.7 or later and MariaDB, with InnoDB
	SQLite   Dialect = "sqlite"   // SQLite 3.35 or later
)

// Tx is what [Fence.Seal] needs of a transaction. *sql.Tx is one, and so is a *sql.Conn
// on which one was begun. Postgres and MySQL use ExecContext alone, which is therefore all
// that a Tx over another client, such as pgx, must do.
type Tx interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// Fence seals resources in one table of a database. It keeps no state, and its methods
// are safe for concurrent use.
type Fence struct {
	dialect Dialect
	table   string // quoted
	sql     statements
}

// Option configures [New].
type Option = option.Option[options]

type options struct{ table string }

// Table names the table, in its schema if you like ("ops.fences"); default
// "jobguard_fences". A part of the name consists of ASCII letters, digits and '_', does not
// begin with a digit, and has at most 63 bytes. It is quoted, so PostgreSQL takes it in the
// case in which it is written.
func Table(name string) Option {
	return option.Func[options](func(o *options) error {
		if !safeName.MatchString(name) {
			return fmt.Errorf("Table: %q cannot be a table's name: want letters, digits and '_', with a schema and '.' before them if need be", name)
		}
		o.table = name
		return nil
	})
}

var safeName = regexp.MustCompile(`\A([A-Za-z_][A-Za-z0-9_]{0,62}\.)?[A-Za-z_][A-Za-z0-9_]{0,62}\z`)

// New returns a Fence for a database of dialect d. It asks the database nothing. The
// error says which dialect or option is wrong.
func New(d Dialect, opts ...Option) (*Fence, error) {
	o, err := option.Apply(options{table: "jobguard_fences"}, "an Option", opts)
	if err != nil {
		return nil, fmt.Errorf("sqlfence: %w", err)
	}
	f := &Fence{dialect: d}
	switch d {
	case Postgres:
		f.table, f.sql = quote(o.table, `"`), postgres
	case MySQL:
		f.table, f.sql = quote(o.table, "`"), mysql
	case SQLite:
		f.table, f.sql = quote(o.table, `"`), sqlite
	default:
		return nil, fmt.Errorf("sqlfence: %q is no dialect: want Postgres, MySQL or SQLite", d)
	}
	f.sql = f.sql.on(f.table)
	return f, nil
}

// ErrStale means that a run with a higher token has sealed the resource. The error is a
// [*StaleError].
var ErrStale = errors.New("a later run has sealed the resource")

// ErrNoToken means that the context comes from no run that has a fencing token. Runs under
// Limit and Shared have none; under DoAll only a resource that is named as one of the keys has.
var ErrNoToken = errors.New("the context has no fencing token")

// StaleError says that this run came too late: roll back. It matches [ErrStale].
type StaleError struct {
	Resource string
	Token    int64 // this run's
	Newest   int64 // the highest that has sealed the resource
}

func (e *StaleError) Error() string {
	return fmt.Sprintf("sqlfence: seal %.100q: %v: its token is %d, this run's %d", e.Resource, ErrStale, e.Newest, e.Token)
}

// Is reports whether target is ErrStale.
func (e *StaleError) Is(target error) bool { return target == ErrStale }
