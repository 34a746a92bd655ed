package main

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"
)

func TestRowAcceptsNoTokenLowerThanTheHighest(t *testing.T) {
	s := newShop(t, 10)
	ctx := t.Context()
	for _, step := range []struct {
		what  string
		do    func() error
		stale bool
	}{
		{"first write", func() error { return s.write(ctx, 5, 1, 9) }, false},
		{"the same run again", func() error { return s.write(ctx, 5, 2, 8) }, false},
		{"a later run seals", func() error { return s.seal(ctx, 7) }, false},
		{"the earlier run writes late", func() error { return s.write(ctx, 5, 3, 7) }, true},
		{"an unguarded write", func() error { return s.write(ctx, 0, 4, 7) }, true},
		{"the earlier run seals late", func() error { return s.seal(ctx, 5) }, true},
		{"the later run writes", func() error { return s.write(ctx, 7, 5, 7) }, false},
	} {
		if err := step.do(); errors.Is(err, errStale) != step.stale || err != nil && !step.stale {
			t.Errorf("%s: %v", step.what, err)
		}
	}
	b, err := s.books(ctx)
	if want := (books{sold: 3, left: 7}); err != nil || b != want {
		t.Errorf("books: %+v %v, want %+v: a refused write must leave no trace", b, err, want)
	}
}

func TestBuyingTwiceIsBuyingOnce(t *testing.T) {
	s := newShop(t, 10)
	for range 2 {
		if err := s.buy(t.Context(), 42); err != nil {
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
		if _, err := s.db.ExecContext(t.Context(), `INSERT INTO sales (buyer, token) VALUES (?, ?)`, buyer, token); err != nil {
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
	if err := s.buy(ctx, 1); !errors.Is(err, gone) {
		t.Errorf("buy: %v", err)
	}
}

func newShop(t *testing.T, tickets int) *shop {
	t.Helper()
	s, err := openShop(filepath.Join(t.TempDir(), "shop.db"), 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.close)
	if err := s.stock(t.Context(), tickets); err != nil {
		t.Fatal(err)
	}
	return s
}
