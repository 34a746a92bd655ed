// Package sqllog keeps the records of a journal in an SQL database: PostgreSQL, MariaDB or
// SQLite, and by its manual MySQL. It is tested on PostgreSQL 15, MariaDB 10.11 and SQLite
// (modernc.org/sqlite); its statements need, by the manuals, PostgreSQL 9.5, MySQL 8.0,
// MariaDB 10.6 and SQLite 3.35, or later.
//
//	db, err := sql.Open("pgx", dsn)
//	...
//	log, err := sqllog.New(db, sqlfence.Postgres)
//	...
//	err = log.Migrate(ctx)
//	...
//	j, err := journal.New(g, log)
//	...
//	err = j.Do(ctx, "account:1", journal.Op{Kind: "charge", Payload: order}, func(ctx context.Context) error {
//		tx, err := db.BeginTx(ctx, nil)
//		if err != nil {
//			return err
//		}
//		defer tx.Rollback()
//		if err := sqllog.Done(ctx, tx); err != nil { // first
//			return err
//		}
//		if _, err := tx.ExecContext(ctx, "UPDATE accounts SET cents = cents - $1 WHERE id = $2", cents, id); err != nil {
//			return err
//		}
//		return tx.Commit()
//	})
//
// # Done
//
// [Done] marks the run done in the same commit as its write: the run counts as done
// exactly when its write is there, whatever crashes in between, and is never compensated
// then. It also seals the run's key, so that a run whose lease was lost is refused. This
// is the recommended form. Without it a process that dies after its commit leaves a
// record that is abandoned, and the handler has to find out that nothing is to be done.
//
// # What it keeps
//
// One table of records with three indexes, and sqlfence's table. A finished record keeps
// its key and tokens, without payload, until its retention ends; sweepers delete it then.
// All times are the database's. [Log.Schema] has the statements.
//
// MaxOpen holds for any number of processes that begin at once; intents that are refused
// may be in the table until they are. A record's LatestFence is known as far back as
// finished records are kept.
//
// # Failures
//
// Do returns guard.ErrUnavailable if the intent cannot be stored. An outcome, and a
// claim, waits for a transaction that has called Done and has not ended, for at most 2
// and 5 s, and is tried again.
//
// On SQLite one transaction writes at a time: give the DSN a busy_timeout. A checkpoint
// while the run's own transaction is open is an error, [ErrTransaction] if that has
// called Done, else after a second.
//
// A database client of another kind, such as pgx's own, can be given to Done by a wrapper
// of two methods, as to sqlfence; its Result must know RowsAffected.
package sqllog
