package sqlfence

import "strings"

// statements are what a dialect says; {table} stands for the quoted name.
type statements struct {
	schema string // makes the table unless it is there

	// seal raises the resource's token to the run's, unless it is higher, and locks
	// the row in any case until the transaction ends. How it tells the token that the
	// row has then is the dialect's; see seal.go.
	seal string

	// alone comes before schema in a transaction and keeps other processes that make
	// the table out until it ends. "": schema does so by itself.
	alone string
}

// on fills in the name of the table.
func (s statements) on(table string) statements {
	in := func(statement string) string { return strings.ReplaceAll(statement, "{table}", table) }
	return statements{schema: in(s.schema), seal: in(s.seal), alone: in(s.alone)}
}

// quote puts each part of a safe name into quotation marks.
func quote(name, mark string) string {
	return mark + strings.ReplaceAll(name, ".", mark+"."+mark) + mark
}

// The cast fails on purpose when the row's token is higher: the error carries that
// token in the same round trip, and PostgreSQL then commits the transaction in no case.
var postgres = statements{
	schema: `CREATE TABLE IF NOT EXISTS {table} (
	resource bytea NOT NULL PRIMARY KEY,
	token bigint NOT NULL
)`,
	seal: `INSERT INTO {table} AS fence (resource, token) VALUES ($1, $2)
ON CONFLICT (resource) DO UPDATE SET token = CASE WHEN fence.token <= EXCLUDED.token THEN EXCLUDED.token
ELSE CAST('` + newestToken + `' || fence.token AS bigint) END`,
	alone: `SELECT pg_advisory_xact_lock(7667812037218468710)`,
}

// newestToken is what the token follows in PostgreSQL's error, which quotes it in every
// language.
const newestToken = "sqlfence: newest token "

// LAST_INSERT_ID(n) makes n the statement's LastInsertId, so that the row's token comes
// back whether or not the row has changed. The number of affected rows would not tell a
// second seal with the same token from a stale one. The upsert reads the row itself and
// not the snapshot of REPEATABLE READ. VARBINARY has no collation, and keeps trailing spaces.
var mysql = statements{
	schema: `CREATE TABLE IF NOT EXISTS {table} (
	resource VARBINARY(255) NOT NULL PRIMARY KEY,
	token BIGINT NOT NULL
) ENGINE=InnoDB`,
	seal: `INSERT INTO {table} (resource, token) VALUES (?, LAST_INSERT_ID(?))
ON DUPLICATE KEY UPDATE token = LAST_INSERT_ID(GREATEST(token, ?))`,
}

var sqlite = statements{
	schema: `CREATE TABLE IF NOT EXISTS {table} (
	resource BLOB NOT NULL PRIMARY KEY,
	token BIGINT NOT NULL
) WITHOUT ROWID`,
	seal: `INSERT INTO {table} AS fence (resource, token) VALUES (?, ?)
ON CONFLICT (resource) DO UPDATE SET token = max(fence.token, excluded.token)
RETURNING token`,
}
