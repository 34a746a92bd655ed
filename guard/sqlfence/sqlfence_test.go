package sqlfence_test

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
	"github.com/jobguard/jobguard/guard/sqlfence"
)

func TestNewRefusesUnsafeNamesAndUnknownDialects(t *testing.T) {
	for _, name := range []string{
		"", ".", "a.", ".a", "a.b.c", "1a", "a b", `a"b`, "a`b", "a;b", "a-b", "ä", "a\n", "a'", "a$b", "a\x00",
		strings.Repeat("x", 64), strings.Repeat("x", 64) + ".a",
	} {
		for _, d := range []sqlfence.Dialect{sqlfence.Postgres, sqlfence.MySQL, sqlfence.SQLite} {
			if f, err := sqlfence.New(d, sqlfence.Table(name)); err == nil || f != nil || !strings.HasPrefix(err.Error(), "sqlfence: Table: ") {
				t.Errorf("%s: Table(%q): %v, want an error", d, name, err)
			}
		}
	}
	for _, d := range []sqlfence.Dialect{"", "oracle", "POSTGRES"} {
		if _, err := sqlfence.New(d); err == nil || !strings.Contains(err.Error(), "is no dialect") {
			t.Errorf("dialect %q: %v, want an error", d, err)
		}
	}
	if _, err := sqlfence.New(sqlfence.SQLite, nil); err == nil {
		t.Error("a nil Option: no error")
	}
}

// untouched is a transaction of a database that must not be asked.
type untouched struct{ t *testing.T }

func (tx untouched) ExecContext(_ context.Context, query string, _ ...any) (sql.Result, error) {
	tx.t.Errorf("the database was asked: %s", query)
	return nil, errors.New("asked")
}

func (tx untouched) QueryRowContext(_ context.Context, query string, _ ...any) *sql.Row {
	tx.t.Errorf("the database was asked: %s", query)
	return nil
}

func fence(t *testing.T) *sqlfence.Fence {
	t.Helper()
	f, err := sqlfence.New(sqlfence.Postgres)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func newGuard(t *testing.T, opts ...guard.Option) (*guard.Guard, *guardtest.Store) {
	t.Helper()
	store := guardtest.NewStore()
	g, err := guard.New(store, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return g, store
}

func TestWithoutATokenTheDatabaseIsNotAsked(t *testing.T) {
	g, _ := newGuard(t)
	seal := func(ctx context.Context) error {
		err := fence(t).Seal(ctx, untouched{t}, "r")
		if !errors.Is(err, sqlfence.ErrNoToken) || errors.Is(err, guard.ErrLost) {
			t.Errorf("got %v, want ErrNoToken", err)
		}
		return nil
	}
	_ = seal(t.Context())
	for _, err := range []error{
		g.With(guard.Shared()).Do(t.Context(), "k", seal),
		g.With(guard.Limit(2)).Do(t.Context(), "k", seal),
		g.DoAll(t.Context(), []string{"a", "b"}, seal),
	} {
		if err != nil {
			t.Error(err)
		}
	}
}

func TestAfterALossTheDatabaseIsNotAsked(t *testing.T) {
	g, store := newGuard(t)
	seal := func(ctx context.Context) {
		err := fence(t).Seal(ctx, untouched{t}, "r")
		if !errors.Is(err, guard.ErrLost) || errors.Is(err, sqlfence.ErrNoToken) {
			t.Errorf("got %v, want guard.ErrLost", err)
		}
	}
	var leaked context.Context
	err := g.Do(t.Context(), "k", func(ctx context.Context) error {
		leaked = context.WithoutCancel(ctx) //nolint:fatcontext // a leak is the test
		store.Expire("k")
		_ = guard.Ensure(ctx, 9*time.Second) // finds the loss
		seal(ctx)
		seal(context.WithValue(ctx, t, 1))
		seal(leaked)
		return nil
	})
	if !errors.Is(err, guard.ErrLost) {
		t.Error(err)
	}
	seal(leaked)

	// The outer key is named as the resource. When it is lost the inner one's token must not do.
	_ = g.Do(t.Context(), "r", func(ctx context.Context) error {
		return g.Do(ctx, "s", func(inner context.Context) error {
			store.Expire("r")
			_ = guard.Ensure(ctx, 9*time.Second)
			if _, ok := guard.Fence(inner); !ok {
				t.Error("the inner key is lost too: the test is void")
			}
			seal(inner)
			return nil
		})
	})
}

func TestBadArgumentsAreRefused(t *testing.T) {
	g, _ := newGuard(t)
	err := g.Do(t.Context(), "k", func(ctx context.Context) error {
		for _, resource := range []string{"", strings.Repeat("x", 256)} {
			if err := fence(t).Seal(ctx, untouched{t}, resource); err == nil || len(err.Error()) > 300 {
				t.Errorf("a resource of %d bytes: %v, want a short error", len(resource), err)
			}
		}
		var db *sql.DB
		if err := fence(t).Seal(ctx, db, "r"); err == nil || !strings.Contains(err.Error(), "no transaction") {
			t.Errorf("a *sql.DB: %v, want an error", err)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// records is a transaction that says which tokens it was asked to seal.
type records struct {
	sqlfence.Tx
	tokens []int64
}

func (tx *records) ExecContext(_ context.Context, _ string, args ...any) (sql.Result, error) {
	tx.tokens = append(tx.tokens, args[1].(int64))
	return nil, nil
}

func TestTokenIsThatOfTheKeyNamedAsTheResourceElseTheInnermost(t *testing.T) {
	g, _ := newGuard(t)
	check := func(ctx context.Context, resource, key string) {
		t.Helper()
		want, ok := guard.FenceOf(ctx, key)
		tx := &records{}
		if err := fence(t).Seal(ctx, tx, resource); err != nil || !ok || len(tx.tokens) != 1 || tx.tokens[0] != want {
			t.Errorf("%s: tokens %v, %v; want %d, of %s", resource, tx.tokens, err, want, key)
		}
	}
	err := g.Do(t.Context(), "a", func(ctx context.Context) error {
		check(ctx, "a", "a")
		check(ctx, "row", "a")
		return g.DoAll(ctx, []string{"b", "c"}, func(ctx context.Context) error {
			check(ctx, "a", "a")
			check(ctx, "b", "b")
			check(ctx, "c", "c")
			return g.Do(ctx, "d", func(ctx context.Context) error {
				check(ctx, "b", "b")
				check(ctx, "d", "d")
				check(ctx, "row", "d")
				return nil
			})
		})
	})
	if err != nil {
		t.Error(err)
	}
}
