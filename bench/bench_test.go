package main

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"testing"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
)

// What happens inside one process, without a server: go test -bench . -benchmem

func newGuard(b *testing.B) *guard.Guard {
	b.Helper()
	g, err := guard.New(guardtest.NewStore())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := g.Shutdown(context.Background()); err != nil {
			b.Error(err)
		}
	})
	return g
}

func nothing(context.Context) error { return nil }

// BenchmarkDo is a run under a key without contention.
func BenchmarkDo(b *testing.B) {
	g := newGuard(b)
	b.ReportAllocs()
	for b.Loop() {
		if err := g.Do(b.Context(), "key", nothing); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkDoParallel has goroutines on all cores, each under keys of its own.
func BenchmarkDoParallel(b *testing.B) {
	g := newGuard(b)
	var mu sync.Mutex
	goroutines := 0
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		mu.Lock()
		goroutines++
		key := "key-" + strconv.Itoa(goroutines)
		mu.Unlock()
		for pb.Next() {
			if err := g.Do(b.Context(), key, nothing); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

// BenchmarkDoAmongMany is a run while the process holds many other leases.
func BenchmarkDoAmongMany(b *testing.B) {
	for _, n := range []int{1_000, 100_000} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			g := newGuard(b)
			others := newHerd(n, g.Do)
			others.gather(b.Context())
			b.ReportAllocs()
			for b.Loop() {
				if err := g.Do(b.Context(), "key", nothing); err != nil {
					b.Fatal(err)
				}
			}
			if err := others.disperse(); err != nil {
				b.Error(err)
			}
		})
	}
}

// BenchmarkHandoff passes one key between the goroutines of a process.
func BenchmarkHandoff(b *testing.B) {
	for _, goroutines := range []int{2, 8, 64} {
		b.Run(fmt.Sprintf("%d goroutines", goroutines), func(b *testing.B) {
			g := newGuard(b)
			turns := make(chan struct{}, b.N)
			for range b.N {
				turns <- struct{}{}
			}
			close(turns)
			b.ReportAllocs()
			b.ResetTimer()
			var all sync.WaitGroup
			for range goroutines {
				all.Go(func() {
					for range turns {
						if err := g.Do(b.Context(), "key", nothing); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			all.Wait()
		})
	}
}

// BenchmarkNested is a run under a lease that the context holds already.
func BenchmarkNested(b *testing.B) {
	g := newGuard(b)
	err := g.Do(b.Context(), "key", func(ctx context.Context) error {
		b.ReportAllocs()
		for b.Loop() {
			if err := g.Do(ctx, "key", nothing); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
}

// BenchmarkLook is what deep code pays for asking whether the lease is held.
func BenchmarkLook(b *testing.B) {
	g := newGuard(b)
	looks := map[string]func(context.Context){
		"Fence":   func(ctx context.Context) { guard.Fence(ctx) },
		"Holding": func(ctx context.Context) { guard.Holding(ctx, "key") },
		"Err":     func(ctx context.Context) { _ = ctx.Err() },
	}
	for _, name := range []string{"Fence", "Holding", "Err"} {
		b.Run(name, func(b *testing.B) {
			err := g.Do(b.Context(), "key", func(ctx context.Context) error {
				b.ReportAllocs()
				for b.Loop() {
					looks[name](ctx)
				}
				return nil
			})
			if err != nil {
				b.Fatal(err)
			}
		})
	}
}
