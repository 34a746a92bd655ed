package guard

import (
	"context"
	"sync/atomic"
)

var defaultGuard atomic.Pointer[Guard]

// SetDefault makes g the Guard that [Do], [DoAll] and [Lead] use. A nil g panics.
func SetDefault(g *Guard) {
	if g == nil {
		panic("guard: SetDefault of a nil Guard")
	}
	defaultGuard.Store(g)
}

// Default returns what SetDefault was given last, nil before.
func Default() *Guard { return defaultGuard.Load() }

// Do calls [Guard.Do] of the default Guard. It panics if there is none.
func Do(ctx context.Context, key string, fn func(context.Context) error) error {
	return mustDefault().Do(ctx, key, fn)
}

// DoAll calls [Guard.DoAll] of the default Guard. It panics if there is none.
func DoAll(ctx context.Context, keys []string, fn func(context.Context) error) error {
	return mustDefault().DoAll(ctx, keys, fn)
}

// Lead calls [Guard.Lead] of the default Guard. It panics if there is none.
func Lead(ctx context.Context, key string, fn func(context.Context) error) error {
	return mustDefault().Lead(ctx, key, fn)
}

func mustDefault() *Guard {
	g := Default()
	if g == nil {
		panic("guard: no default Guard: call SetDefault first")
	}
	return g
}
