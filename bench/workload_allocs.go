package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"time"
)

// measureAllocs counts what a run without contention allocates, on all
// goroutines that have a part in it.
func measureAllocs(ctx context.Context, p plan, r rival) (_ sample, err error) {
	server, err := startServer(ctx)
	if err != nil {
		return nil, err
	}
	defer server.stop()
	locker, err := r.open([]string{server.addr}, p.setup)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, locker.Close()) }()

	// Names are made beforehand: they are not the lock's.
	keys := make([]string, p.pairs)
	for i := range keys {
		keys[i] = "key-" + strconv.Itoa(i)
	}
	// A rival that misses its wake-up waits for ever.
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	fn := func(int64, bool) {}
	run := func() error {
		for _, key := range keys {
			if err := locker.Do(ctx, key, fn); err != nil {
				return fmt.Errorf("run under %s: %w", key, err)
			}
		}
		return nil
	}
	if err := run(); err != nil { // pools fill up
		return nil, err
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	err = run()
	runtime.ReadMemStats(&after)
	n := float64(len(keys))
	return sample{
		allocs:    float64(after.Mallocs-before.Mallocs) / n,
		allocated: float64(after.TotalAlloc-before.TotalAlloc) / n,
	}, err
}
