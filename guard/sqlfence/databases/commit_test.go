package databases

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
	"github.com/jobguard/jobguard/guard/sqlfence"
	"github.com/jobguard/jobguard/internal/sqltest"
)

// A run loses its lease while its COMMIT waits for a standby: it gets an error, others
// see the old row, and later the row changes all the same. The next holder's Seal waits
// for that.
func TestCommitThatALossCutOffIsWaitedFor(t *testing.T) {
	server := sqltest.Postgres(t, "wal_level=replica")
	admin := open(t, "pgx", server.DSN+"?synchronous_commit=local")
	f := newFence(t, sqlfence.Postgres)
	must(t, f.Migrate(t.Context(), admin))
	statements(t, admin, "CREATE TABLE account (n int NOT NULL)", "INSERT INTO account VALUES (0)")
	standby(t, admin, "nobody")
	commitsWait(t, server, admin)

	store := guardtest.NewStore()
	g, err := guard.New(store)
	must(t, err)
	line := dialOnce(t, server)
	late := open(t, "pgx", strings.Replace(server.DSN, server.Addr(), line, 1)+"?sslmode=disable")
	var wg sync.WaitGroup
	defer wg.Wait()
	err = g.Do(t.Context(), "account", func(ctx context.Context) error {
		return sealed(ctx, late, f, "account", func(tx *sql.Tx) error {
			wg.Go(func() {
				if err := activity(t.Context(), admin, "wait_event = 'SyncRep'"); err != nil {
					t.Error(err)
				}
				store.Expire("account")              // in any case: COMMIT would wait for ever
				_ = guard.Ensure(ctx, 9*time.Second) // finds the loss
			})
			_, err := tx.ExecContext(ctx, "UPDATE account SET n = 1")
			return err
		})
	})
	if !errors.Is(err, guard.ErrLost) {
		t.Errorf("the run whose COMMIT was cut off: %v, want ErrLost", err)
	}
	if n := number(t, admin, "SELECT n FROM account"); n != 0 {
		t.Error("the row has changed before the standby was there")
	}

	next := make(chan error, 1)
	var read int64
	soon, cancel := context.WithTimeout(t.Context(), 2*waitLimit)
	defer cancel()
	go func() {
		next <- g.Do(soon, "account", func(ctx context.Context) error {
			return sealed(ctx, admin, f, "account", func(tx *sql.Tx) error {
				return tx.QueryRowContext(ctx, "SELECT n FROM account").Scan(&read)
			})
		})
	}()
	awaitActivity(t, admin, "wait_event_type = 'Lock'")
	if n := number(t, admin, "SELECT n FROM account"); n != 0 {
		t.Error("the row has changed before the standby was there")
	}
	standby(t, admin, "")
	must(t, <-next)
	if read != 1 {
		t.Errorf("the next holder read %d, want what the late commit wrote", read)
	}
}

// standby makes the server wait at COMMIT for a standby, "" for none.
func standby(t *testing.T, admin *sql.DB, name string) {
	t.Helper()
	statements(t, admin, "ALTER SYSTEM SET synchronous_standby_names = '"+name+"'", "SELECT pg_reload_conf()")
	await(t, func() bool {
		var now string
		must(t, admin.QueryRowContext(t.Context(), "SHOW synchronous_standby_names").Scan(&now))
		return now == name
	})
}

// commitsWait returns when commits really wait: the checkpointer sees to that, which may be
// later than every session has the setting (PostgreSQL 15).
func commitsWait(t *testing.T, server sqltest.Database, admin *sql.DB) {
	t.Helper()
	probe := open(t, "pgx", server.DSN)
	statements(t, admin, "CREATE TABLE probe (n int)")
	await(t, func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), waitLimit)
		defer cancel()
		committed := make(chan error, 1)
		go func() { // until it has committed, or is cancelled below
			_, err := probe.ExecContext(ctx, "INSERT INTO probe VALUES (0)")
			committed <- err
		}()
		for {
			select {
			case err := <-committed:
				must(t, err)
				return false
			case <-time.After(5 * time.Millisecond):
			}
			if number(t, admin, "SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity WHERE wait_event = 'SyncRep'") > 0 {
				must(t, <-committed)
				return true
			}
		}
	})
}

func awaitActivity(t *testing.T, admin *sql.DB, condition string) {
	t.Helper()
	must(t, activity(t.Context(), admin, condition))
}

// activity is awaitActivity for any goroutine, not only that of the test.
func activity(ctx context.Context, admin *sql.DB, condition string) error {
	ctx, cancel := context.WithTimeout(ctx, waitLimit)
	defer cancel()
	for {
		var n int
		if err := admin.QueryRowContext(ctx, "SELECT count(*) FROM pg_stat_activity WHERE "+condition).Scan(&n); err != nil {
			return fmt.Errorf("no session with %s: %w", condition, err)
		}
		if n > 0 {
			return nil
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func await(t *testing.T, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(waitLimit); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it did not happen in time")
		}
	}
}

// dialOnce returns the address of a proxy that passes one connection to the server, and
// no other: the request to cancel the COMMIT, which pgx sends on another, does not arrive.
func dialOnce(t *testing.T, server sqltest.Database) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { _ = ln.Close() }) // it may be closed
	go func() {                          // ends when the connection or the listener is closed
		client, err := ln.Accept()
		_ = ln.Close() // the one connection is there
		if err != nil {
			return
		}
		upstream, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", server.Addr())
		if err != nil {
			_ = client.Close() // the client sees that there is no server
			return
		}
		var wg sync.WaitGroup
		pass := func(to, from net.Conn) {
			_, _ = io.Copy(to, from) // until one side closes
			_ = to.Close()
			_ = from.Close()
		}
		wg.Go(func() { pass(upstream, client) })
		wg.Go(func() { pass(client, upstream) })
		wg.Wait()
	}()
	return ln.Addr().String()
}
