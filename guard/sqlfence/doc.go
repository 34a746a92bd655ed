// Package sqlfence lets an SQL database refuse the writes of a run whose time is over.
// [Fence.Seal] inside a transaction compares the run's fencing token with the highest that
// has sealed the same resource, stores it, and locks the resource's row until the
// transaction ends.
//
//	fences, err := sqlfence.New(sqlfence.Postgres) // once; fences.Migrate(ctx, db) makes the table
//	...
//	key := guard.Key("stock", sku)
//	err = g.Do(ctx, key, func(ctx context.Context) error {
//		tx, err := db.BeginTx(ctx, nil) // fn's ctx
//		if err != nil {
//			return err
//		}
//		defer func() { _ = tx.Rollback() }() // nothing after Commit
//		if err := fences.Seal(ctx, tx, key); err != nil {
//			return err // sqlfence.ErrStale: a later run was here
//		}
//		res, err := tx.ExecContext(ctx, `UPDATE stock SET n = n - 1 WHERE sku = $1`, sku)
//		if err != nil {
//			return err
//		}
//		if n, _ := res.RowsAffected(); n == 0 {
//			return errNoSuchSKU // the token is not stale: Seal would have told
//		}
//		return tx.Commit()
//	})
//
// # What is guaranteed
//
// Transactions that seal a resource commit in the order of their tokens, whatever happens
// to leases, processes and clocks, under READ COMMITTED, REPEATABLE READ and SERIALIZABLE.
// What a run reads after Seal includes all that earlier holders have written, and none of
// them writes to it afterwards.
//
// On SQLite set a busy timeout (modernc: ?_pragma=busy_timeout(5000)): without it, runs
// that write at the same time fail at once with SQLITE_BUSY.
//
// # What is not
//
//   - What was read before Seal may be old: seal first.
//   - Writes that do not seal are not refused. A seal goes with the savepoint that is rolled
//     back, and the lock with it.
//   - An error from a write or a COMMIT that a loss cut off does not mean "not written": the
//     server may commit later all the same. The next holder's Seal waits for it.
//   - BeginTx takes fn's ctx. A transaction begun with another one can commit after the loss,
//     as long as no later run has sealed the resource.
//   - Only in PostgreSQL does a refused transaction commit in no case. Elsewhere one whose
//     code ignores the error of Seal does commit.
//
// # Beginning again
//
// A database may refuse even the rightful run, because what it waited for has changed under
// its snapshot: PostgreSQL with SQLSTATE 40001 under REPEATABLE READ and SERIALIZABLE,
// MariaDB with error 1020 under SERIALIZABLE if innodb_snapshot_isolation is on (default
// from 11.6.2). Errors are the driver's, wrapped. Begin the transaction again, as the
// example of Seal does; or use READ COMMITTED, where Seal first is enough.
//
// # The table
//
// One row for each resource that was ever sealed. Rows of tokens older than any run that
// could still be alive may be deleted: tokens of redisstore are the server's clock in µs.
//
// One server decides: on several that all take writes, or after a failover that has lost
// transactions, tokens are as old as the data.
//
// Package sqlfence needs the standard library and guard. It starts no goroutine. Every case
// with its test: https://github.com/jobguard/jobguard/blob/main/docs/behaviour/sqlfence.md
package sqlfence
