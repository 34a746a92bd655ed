package sqlfence

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"

	"github.com/jobguard/jobguard/guard"
)

// maxResource is how many bytes the name of a resource may have.
const maxResource = 255

// Seal makes the transaction tx the newest of resource: it can commit only if no run with
// a higher token has sealed the resource before, and the resource's row is locked until tx
// ends, so that no other run seals it meanwhile. Call it first in the transaction, before
// what the work reads. Seal it again, with the same run, as often as you like.
//
// The token is that of the run from which ctx comes: of the key that is named as resource
// if one of its keys is, else of the innermost run's one key. Use the same way for a
// resource everywhere. A resource has 1 to 255 bytes, and is compared byte by byte.
//
// Errors, after each of which tx must be rolled back:
//
//   - [*StaleError], which matches [ErrStale]: a later run has sealed it. PostgreSQL then
//     commits tx in no case.
//   - guard.ErrLost: a lease of ctx's runs is known to be lost. The database was not asked.
//   - [ErrNoToken]: ctx has no token. The database was not asked.
//   - any other is the driver's, wrapped: serialization failures (SQLSTATE 40001 in
//     PostgreSQL, also for the rightful run under REPEATABLE READ and SERIALIZABLE),
//     deadlocks and timeouts are to be retried from the beginning of the transaction.
//
// It is one statement, and starts no goroutine. A tx that is a *sql.DB, or has one embedded,
// is refused: the lock would end with the statement.
//
// A program that runs, on SQLite:
// https://github.com/jobguard/jobguard/blob/main/guard/sqlfence/databases/example_test.go
func (f *Fence) Seal(ctx context.Context, tx Tx, resource string) error {
	if len(resource) == 0 || len(resource) > maxResource {
		return fmt.Errorf("sqlfence: seal %.100q: a resource has 1 to %d bytes, this one %d", resource, maxResource, len(resource))
	}
	if _, ok := tx.(interface{ SetMaxOpenConns(int) }); ok {
		return fmt.Errorf("sqlfence: seal %.100q: a %T is no transaction", resource, tx)
	}
	token, err := tokenOf(ctx, resource)
	if err != nil {
		return fmt.Errorf("sqlfence: seal %.100q: %w", resource, err)
	}
	return f.seal(ctx, tx, resource, token)
}

// tokenOf returns the token with which ctx's run seals resource.
func tokenOf(ctx context.Context, resource string) (int64, error) {
	token, ok := guard.FenceOf(ctx, resource)
	if !ok {
		token, ok = guard.Fence(ctx)
	}
	// Last, as a loss is final: the key that is named as resource is not merely lost.
	if err := guard.Ensure(ctx, 0); err != nil {
		if lost := (*guard.Error)(nil); errors.As(err, &lost) && lost.Key == "" {
			return 0, ErrNoToken // ctx comes from no run
		}
		return 0, err
	}
	if !ok {
		return 0, ErrNoToken
	}
	return token, nil
}

// seal is Seal with a token that is given.
func (f *Fence) seal(ctx context.Context, tx Tx, resource string, token int64) error {
	newest, err := f.raise(ctx, tx, []byte(resource), token)
	switch {
	case err != nil:
		return fmt.Errorf("sqlfence: seal %.100q: %w", resource, err)
	case newest > token:
		return &StaleError{Resource: resource, Token: token, Newest: newest}
	case newest < token:
		return fmt.Errorf("sqlfence: seal %.100q: the token was set to %d, and is %d", resource, token, newest)
	}
	return nil
}

// raise runs the dialect's statement and returns the token that the row has after it.
func (f *Fence) raise(ctx context.Context, tx Tx, resource []byte, token int64) (newest int64, err error) {
	switch f.dialect {
	case Postgres:
		_, err = tx.ExecContext(ctx, f.sql.seal, resource, token)
		if found := quotedToken.FindStringSubmatch(fmt.Sprint(err)); found != nil {
			return strconv.ParseInt(found[1], 10, 64)
		}
		return token, err
	case MySQL:
		result, err := tx.ExecContext(ctx, f.sql.seal, resource, token, token)
		if err != nil {
			return 0, err
		}
		return result.LastInsertId()
	default:
		err = tx.QueryRowContext(ctx, f.sql.seal, resource, token).Scan(&newest)
		return newest, err
	}
}

var quotedToken = regexp.MustCompile(regexp.QuoteMeta(newestToken) + `(-?\d+)`)
