package databases

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/sqlfence"
	"github.com/jobguard/jobguard/internal/sqltest"
)

// pgxTx is a transaction of pgx as a sqlfence.Tx. Of PostgreSQL, Seal uses ExecContext alone.
type pgxTx struct{ pgx.Tx }

func (tx pgxTx) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	tag, err := tx.Exec(ctx, query, args...)
	return driver.RowsAffected(tag.RowsAffected()), err
}

func (tx pgxTx) QueryRowContext(context.Context, string, ...any) *sql.Row { return nil }

// With pgx itself instead of database/sql, three lines make its transaction one for Seal.
func Example_pgx() {
	var g *guard.Guard
	var conn *pgx.Conn // or a *pgxpool.Pool
	var fences *sqlfence.Fence

	ship := func(ctx context.Context, order string) error {
		return g.Do(ctx, guard.Key("order", order), func(ctx context.Context) error {
			return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
				if err := fences.Seal(ctx, pgxTx{tx}, "order:"+order); err != nil {
					return err
				}
				_, err := tx.Exec(ctx, "UPDATE orders SET shipped = true WHERE id = $1", order)
				return err
			})
		})
	}
	_ = ship
}

func TestTransactionsOfPgxItself(t *testing.T) {
	for _, mode := range []string{"cache_statement", "cache_describe", "describe_exec", "exec", "simple_protocol"} {
		t.Run(mode, func(t *testing.T) {
			server := sqltest.Postgres(t)
			conn, err := pgx.Connect(t.Context(), server.DSN+"?default_query_exec_mode="+mode)
			must(t, err)
			defer conn.Close(context.Background())
			f := newFence(t, sqlfence.Postgres)
			must(t, f.Migrate(t.Context(), open(t, "pgx", server.DSN)))
			commit := func(token int64) error {
				return pgx.BeginFunc(t.Context(), conn, func(tx pgx.Tx) error { return seal(t, f, pgxTx{tx}, "r", token) })
			}
			must(t, commit(5))
			must(t, commit(7))
			must(t, commit(7))
			isStale(t, commit(6), 6, 7)
			must(t, commit(8))
		})
	}
}
