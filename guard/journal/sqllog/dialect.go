package sqllog

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/jobguard/jobguard/guard/sqlfence"
)

// statements are those whose text depends on the dialect. {table} stands for the quoted
// table, {name} for the plain one.
type statements struct {
	now     string   // µs since 1970, by the database's clock, the same for all of a statement: else no index serves
	schema  []string // each makes something unless it is there
	alone   string   // keeps other processes that do so out; "": not needed
	insert  string   // behind VALUES: do nothing if the id is there
	turn    string   // behind VALUES: lock the row if the id is there
	locked  string   // behind SELECT: lock the rows until the transaction ends
	skip    string   // the same, without those that are locked
	write   string   // begins a transaction that locks by itself; "": not needed
	numbers bool     // parameters are $1, not ?
}

var dialects = map[sqlfence.Dialect]statements{
	sqlfence.Postgres: {
		now: `(extract(epoch FROM statement_timestamp()) * 1000000)::bigint`,
		schema: []string{`CREATE TABLE IF NOT EXISTS {table} (
	id varchar(64) NOT NULL PRIMARY KEY,
	state varchar(16) NOT NULL,
	kind varchar(64) NOT NULL,
	record_key bytea NOT NULL,
	payload bytea,
	checkpoint_data bytea,
	reason varchar(16) NOT NULL,
	fence bigint NOT NULL,
	attempt integer NOT NULL,
	started bigint NOT NULL,
	failure bytea,
	moment bigint NOT NULL,
	claim_id varchar(64) NOT NULL,
	claimed bigint NOT NULL,
	answer integer NOT NULL,
	again integer NOT NULL,
	busy integer NOT NULL,
	checkpoints bigint NOT NULL
)`,
			`CREATE INDEX IF NOT EXISTS {name}_due ON {table} (state, kind, moment)`,
			`CREATE INDEX IF NOT EXISTS {name}_state ON {table} (state, moment)`,
			`CREATE INDEX IF NOT EXISTS {name}_key ON {table} (record_key)`,
		},
		alone:   `SELECT pg_advisory_xact_lock(hashtext('jobguard sqllog'))`,
		insert:  ` ON CONFLICT (id) DO NOTHING`,
		turn:    ` ON CONFLICT (id) DO UPDATE SET id = excluded.id`,
		locked:  ` FOR UPDATE`,
		skip:    ` FOR UPDATE SKIP LOCKED`,
		numbers: true,
	},
	sqlfence.MySQL: {
		now: `TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6))`,
		schema: []string{`CREATE TABLE IF NOT EXISTS {table} (
	id VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
	state VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
	kind VARBINARY(64) NOT NULL,
	record_key VARBINARY(512) NOT NULL,
	payload MEDIUMBLOB,
	checkpoint_data MEDIUMBLOB,
	reason VARCHAR(16) NOT NULL,
	fence BIGINT NOT NULL,
	attempt INT NOT NULL,
	started BIGINT NOT NULL,
	failure BLOB,
	moment BIGINT NOT NULL,
	claim_id VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
	claimed BIGINT NOT NULL,
	answer INT NOT NULL,
	again INT NOT NULL,
	busy INT NOT NULL,
	checkpoints BIGINT NOT NULL,
	INDEX {name}_due (state, kind, moment),
	INDEX {name}_state (state, moment),
	INDEX {name}_key (record_key)
) ENGINE=InnoDB`},
		insert: ` ON DUPLICATE KEY UPDATE id = id`,
		turn:   ` ON DUPLICATE KEY UPDATE id = id`,
		locked: ` FOR UPDATE`,
		skip:   ` FOR UPDATE SKIP LOCKED`,
	},
	sqlfence.SQLite: {
		now: `CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER)`,
		schema: []string{`CREATE TABLE IF NOT EXISTS {table} (
	id TEXT NOT NULL PRIMARY KEY,
	state TEXT NOT NULL,
	kind TEXT NOT NULL,
	record_key BLOB NOT NULL,
	payload BLOB,
	checkpoint_data BLOB,
	reason TEXT NOT NULL,
	fence INTEGER NOT NULL,
	attempt INTEGER NOT NULL,
	started INTEGER NOT NULL,
	failure BLOB,
	moment INTEGER NOT NULL,
	claim_id TEXT NOT NULL,
	claimed INTEGER NOT NULL,
	answer INTEGER NOT NULL,
	again INTEGER NOT NULL,
	busy INTEGER NOT NULL,
	checkpoints INTEGER NOT NULL
)`,
			`CREATE INDEX IF NOT EXISTS {name}_due ON {table} (state, kind, moment)`,
			`CREATE INDEX IF NOT EXISTS {name}_state ON {table} (state, moment)`,
			`CREATE INDEX IF NOT EXISTS {name}_key ON {table} (record_key)`,
		},
		insert: ` ON CONFLICT (id) DO NOTHING`,
		turn:   ` ON CONFLICT (id) DO UPDATE SET id = excluded.id`,
		// SQLite takes its one lock with the first write, also one of no row, and waits
		// for it then. A transaction that read first could not get it any more.
		write: `UPDATE {table} SET busy = busy WHERE id = ''`,
	},
}

// sql is statement for the log's dialect and table: {now}, {table} and parameters.
func (l *Log) sql(statement string) string {
	s := strings.NewReplacer("{now}", l.says.now, "{table}", l.quoted, "{name}", l.name).Replace(statement)
	if !l.says.numbers {
		return s
	}
	var b strings.Builder
	n := 0
	for _, r := range s {
		if r != '?' {
			b.WriteRune(r)
			continue
		}
		n++
		b.WriteString("$" + strconv.Itoa(n))
	}
	return b.String()
}

// marks is n parameters.
func marks(n int) string { return strings.TrimSuffix(strings.Repeat("?, ", n), ", ") }

func quote(d sqlfence.Dialect, name string) string {
	mark := `"`
	if d == sqlfence.MySQL {
		mark = "`"
	}
	return mark + strings.ReplaceAll(name, ".", mark+"."+mark) + mark
}

func unknown(d sqlfence.Dialect) error {
	return fmt.Errorf("%q is no dialect: want sqlfence.Postgres, MySQL or SQLite", d)
}
