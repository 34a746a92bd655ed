package sqllog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync/atomic"

	"github.com/jobguard/jobguard/guard/internal/option"
	"github.com/jobguard/jobguard/guard/journal/record"
	"github.com/jobguard/jobguard/guard/sqlfence"
)

var _ record.Log = (*Log)(nil)

// Log keeps records in one table of a database. It is safe for concurrent use, and
// starts no goroutine.
type Log struct {
	db      *sql.DB
	dialect sqlfence.Dialect
	says    statements
	quoted  string // table
	name    string // of the table, without a schema: for its indexes
	fence   *sqlfence.Fence
	filling atomic.Bool // more than seven eighths of MaxOpen were open at the last look
}

// Option configures [New].
type Option = option.Option[options]

type set = option.Func[options]

type options struct{ table, fences string }

// Table names the table of records, in its schema if you like ("ops.runs"); default
// "jobguard_journal". Each part is of ASCII letters, digits and '_', does not begin with
// a digit, and has at most 48 bytes.
func Table(name string) Option {
	return set(func(o *options) error {
		if !safeName.MatchString(name) {
			return fmt.Errorf("Table: %q cannot be a table's name: want letters, digits and '_', with a schema and '.' before them if need be", name)
		}
		o.table = name
		return nil
	})
}

// FenceTable names the table that [Done] seals runs' keys in, as sqlfence.Table does;
// default "jobguard_fences", sqlfence's own.
func FenceTable(name string) Option {
	return set(func(o *options) error { o.fences = name; return nil })
}

var safeName = regexp.MustCompile(`\A([A-Za-z_][A-Za-z0-9_]{0,47}\.)?[A-Za-z_][A-Za-z0-9_]{0,47}\z`)

// New returns a Log. It asks the database nothing; the error says which dialect or option
// is wrong. A nil db panics.
func New(db *sql.DB, d sqlfence.Dialect, opts ...Option) (*Log, error) {
	if db == nil {
		panic("sqllog: nil DB")
	}
	o, err := option.Apply(options{table: "jobguard_journal", fences: "jobguard_fences"}, "an Option", opts)
	if err != nil {
		return nil, fmt.Errorf("sqllog: %w", err)
	}
	says, ok := dialects[d]
	if !ok {
		return nil, fmt.Errorf("sqllog: %w", unknown(d))
	}
	fence, err := sqlfence.New(d, sqlfence.Table(o.fences))
	if err != nil {
		return nil, fmt.Errorf("sqllog: FenceTable: %w", err)
	}
	l := &Log{db: db, dialect: d, says: says, quoted: quote(d, o.table), fence: fence}
	l.name = o.table[strings.IndexByte(o.table, '.')+1:]
	return l, nil
}

// Schema returns the statements that make the table of records, its indexes and the
// table of fences unless they are there, separated by ";\n", for those who keep
// migrations of their own.
func (l *Log) Schema() string {
	var all []string
	for _, s := range l.says.schema {
		all = append(all, l.sql(s))
	}
	return strings.Join(append(all, l.fence.Schema()), ";\n")
}

// Migrate makes both tables unless they are there. Any number of processes may call it
// at once.
func (l *Log) Migrate(ctx context.Context) error {
	if err := l.fence.Migrate(ctx, l.db); err != nil {
		return fmt.Errorf("sqllog: %w", err)
	}
	err := l.in(ctx, func(tx *sql.Tx) error {
		if l.says.alone != "" {
			if _, err := tx.ExecContext(ctx, l.says.alone); err != nil {
				return err
			}
		}
		for _, s := range l.says.schema {
			if _, err := tx.ExecContext(ctx, l.sql(s)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("sqllog: migrate %s: %w", l.quoted, err)
	}
	return nil
}

// in calls do in a transaction, and commits it.
func (l *Log) in(ctx context.Context, do func(*sql.Tx) error) error {
	var how *sql.TxOptions
	if l.dialect != sqlfence.SQLite { // which has one level, and refuses others
		how = &sql.TxOptions{Isolation: sql.LevelReadCommitted}
	}
	tx, err := l.db.BeginTx(ctx, how)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // nothing after Commit
	if err := do(tx); err != nil {
		return err
	}
	return tx.Commit()
}

// fault wraps err with the call that failed, and with ctx's end, which drivers do not
// always name.
func fault(ctx context.Context, doing string, err error) error {
	if err == nil {
		return nil
	}
	if ended := ctx.Err(); ended != nil && !errors.Is(err, ended) {
		return fmt.Errorf("sqllog: %s: %w: %w", doing, ended, err)
	}
	return fmt.Errorf("sqllog: %s: %w", doing, err)
}
