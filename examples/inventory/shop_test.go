package main

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
	"github.com/jobguard/jobguard/guard/sqlfence"
)

// A run that an accident holds up past its lease is refused by the database, and
// leaves no trace; the run after it sells.
func TestLateWriteIsRefused(t *testing.T) {
	s := newShop(t, 10)
	store := guardtest.NewStore()
	g, err := guard.New(store)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = g.Shutdown(context.Background()) }) // nothing runs any more
	buy := func(buyer int) error {
		return g.Do(t.Context(), "ticket", func(ctx context.Context) error { return s.buy(ctx, "ticket", buyer) })
	}
	held, over := make(chan struct{}), make(chan struct{})
	goOn := sync.OnceFunc(func() { close(over) })
	defer goOn() // Shutdown waits for the run
	accident := func(context.Context, int64) { close(held); <-over }
	s.accident.Store(&accident)
	end := make(chan error, 1)
	go func() { end <- buy(1) }()
	select {
	case <-held:
	case err := <-end:
		t.Fatalf("it ended before it was held up: %v", err)
	case <-time.After(time.Minute):
		t.Fatal("it was not held up")
	}
	rival, err := openShop(s.path, 1) // the first has its one connection in use
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(rival.close)
	if _, err := rival.db.ExecContext(t.Context(), `UPDATE fences SET token = token + 1`); err != nil {
		t.Fatal(err)
	}
	goOn()
	if err := <-end; !errors.Is(err, sqlfence.ErrStale) {
		t.Errorf("late write: %v", err)
	}
	if b, err := s.books(t.Context()); err != nil || b != (books{left: 10}) {
		t.Errorf("books: %+v %v: a refused write must leave no trace", b, err)
	}
}

// A replica that is about to stall does so at its next write, whatever fails before one.
func TestAccidentWaitsForASaleThatComesToAStatement(t *testing.T) {
	s := newShop(t, 10)
	happened := 0
	accident := func(context.Context, int64) { happened++ }
	s.accident.Store(&accident)
	store := guardtest.NewStore()
	g, err := guard.New(store, guard.TTL(300*time.Millisecond)) // a loss is noticed at a renewal
	if err != nil {
		t.Fatal(err)
	}
	err = g.Do(t.Context(), "ticket", func(ctx context.Context) error {
		store.Break("ticket")
		<-ctx.Done()
		if err := s.write(ctx, "ticket", 1, 9); err == nil || s.accident.Load() == nil {
			t.Errorf("a sale whose lease is lost: %v; the accident is left: %t", err, s.accident.Load() != nil)
		}
		return nil
	})
	if err := errors.Join(err, g.Shutdown(t.Context())); !errors.Is(err, guard.ErrLost) {
		t.Error(err)
	}
	broken := newShop(t, 10)
	broken.close()
	broken.accident.Store(&accident)
	if err := broken.write(t.Context(), "ticket", 1, 9); err == nil || broken.accident.Load() == nil {
		t.Errorf("a sale that cannot begin: %v; the accident is left: %t", err, broken.accident.Load() != nil)
	}
	for buyer := range 2 {
		if err := s.buy(t.Context(), "ticket", buyer); err != nil {
			t.Fatal(err)
		}
	}
	if happened != 1 {
		t.Errorf("it happened %d times, want once", happened)
	}
}

func TestBuyingTwiceIsBuyingOnce(t *testing.T) {
	s := newShop(t, 10)
	for range 2 {
		if err := s.buy(t.Context(), "ticket", 42); err != nil {
			t.Fatal(err)
		}
	}
	if b, err := s.books(t.Context()); err != nil || b.sold != 1 || b.left != 9 {
		t.Errorf("books: %+v %v", b, err)
	}
}

func TestBooksFindALowerTokenAfterAHigher(t *testing.T) {
	s := newShop(t, 10)
	for buyer, token := range []int64{3, 4, 2, 2, 9} {
		if _, err := s.db.ExecContext(t.Context(), `INSERT INTO sales (sku, buyer, token) VALUES ('ticket', ?, ?)`, buyer, token); err != nil {
			t.Fatal(err)
		}
	}
	if b, err := s.books(t.Context()); err != nil || b.inverse != 1 {
		t.Errorf("books: %+v %v", b, err)
	}
}

func TestBuyStopsThinkingWhenItsContextEnds(t *testing.T) {
	s := newShop(t, 1)
	s.think = 1 << 50
	gone := errors.New("gone")
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(50*time.Millisecond, func() { cancel(gone) })
	if err := s.buy(ctx, "ticket", 1); !errors.Is(err, gone) {
		t.Errorf("buy: %v", err)
	}
}

// testShop is a shop, and where it is.
type testShop struct {
	*shop
	path string
}

func newShop(t *testing.T, tickets int) testShop {
	t.Helper()
	path := filepath.Join(t.TempDir(), "shop.db")
	s, err := openShop(path, 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.close)
	if err := errors.Join(s.create(t.Context()), s.stock(t.Context(), "ticket", tickets, true)); err != nil {
		t.Fatal(err)
	}
	return testShop{s, path}
}
