package runs

import (
	"context"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/jobguard/jobguard/guard"
)

func goroutines(ctx context.Context, g *guard.Guard, all *sync.WaitGroup) {
	_ = g.Do(ctx, "k", func(ctx context.Context) error {
		go step(ctx) // want `the function that guard.Do runs does not wait for this goroutine`
		return nil
	})
	_ = g.Do(ctx, "k", func(ctx context.Context) error {
		go func() { // want `does not wait for this goroutine`
			<-ctx.Done() // the goroutine waits, not fn
			_ = step(ctx)
		}()
		return step(ctx)
	})
	_ = g.Do(ctx, "k", func(ctx context.Context) error {
		all.Go(func() { _ = step(ctx) }) // want `does not wait for this goroutine`
		return nil
	})
	_ = g.Do(ctx, "k", func(ctx context.Context) error {
		go println("no context: nothing of the lease")
		return nil
	})
	_ = g.Do(ctx, "k", func(ctx context.Context) error {
		var wg sync.WaitGroup
		wg.Go(func() { _ = step(ctx) })
		wg.Wait()
		return nil
	})
	_ = g.Do(ctx, "k", func(ctx context.Context) error {
		var wg sync.WaitGroup
		defer wg.Wait()
		wg.Add(1)
		go func() { defer wg.Done(); _ = step(ctx) }()
		return nil
	})
	_ = g.Do(ctx, "k", func(ctx context.Context) error {
		group, ctx := errgroup.WithContext(ctx)
		group.Go(func() error { return step(ctx) })
		return group.Wait()
	})
	_ = g.Do(ctx, "k", func(ctx context.Context) error {
		done := make(chan error)
		go func() { done <- step(ctx) }()
		return <-done
	})
}

type stock struct {
	mu   sync.Mutex
	rw   sync.RWMutex
	more sync.Mutex
	g    *guard.Guard
	n    int
}

func (s *stock) add(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.n++
	return nil
}

func (s *stock) mutexes(ctx context.Context, other *stock) {
	s.mu.Lock()
	_ = s.g.Do(ctx, "k", func(context.Context) error { // want `guard.Do is called while s.mu is held, which the function that it runs locks too`
		s.mu.Lock()
		defer s.mu.Unlock()
		return nil
	})
	_ = s.g.Do(ctx, "k", s.add)     // want `guard.Do is called while s.mu is held`
	_ = s.g.Do(ctx, "k", other.add) // another mutex
	s.mu.Unlock()
	_ = s.g.Do(ctx, "k", s.add)
	s.more.Lock()
	defer s.more.Unlock()
	_ = s.g.Do(ctx, "k", s.add)
	s.rw.RLock()
	_ = s.g.Do(ctx, "k", func(context.Context) error {
		s.rw.RLock() // readers let each other in
		defer s.rw.RUnlock()
		return nil
	})
	s.rw.RUnlock()
}

func (s *stock) deferred(ctx context.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = s.g.Do(ctx, "k", s.add) // want `guard.Do is called while s.mu is held`
}
