package redisstore_test

import (
	"runtime"
	"testing"
	"time"

	"github.com/jobguard/jobguard/guard/lease"
	"github.com/jobguard/jobguard/guard/lease/redisstore"
	"github.com/jobguard/jobguard/internal/redistest"
)

// A command of the store is larger than all else that it allocates for a run.
func TestCommandsOfRunsOnFreeKeysAreUsedAgain(t *testing.T) {
	const runs, most = 1000, 1600 // bytes of a run; with two new commands it is above 2000
	store := redisstore.New(redistest.Start(t).Client(t))
	run := func() {
		owner := store.NewOwner("")
		attempt := lease.NewAttempt(time.Now().Add(10 * time.Second))
		defer attempt.End()
		reply, err := store.Acquire(attempt, lease.AcquireRequest{Key: "k", Owner: owner, TTL: 10 * time.Second, TokenCount: 1})
		if err != nil || !reply.Granted {
			t.Fatalf("Acquire() = %+v, %v", reply, err)
		}
		released, err := store.Release(attempt, lease.ReleaseRequest{Key: "k", Owner: owner, Fence: reply.Fence, LastFence: reply.Fence})
		if err != nil || !released.Released {
			t.Fatalf("Release() = %+v, %v", released, err)
		}
	}
	run() // connects
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range runs {
		run()
	}
	runtime.ReadMemStats(&after)
	if each := (after.TotalAlloc - before.TotalAlloc) / runs; each > most {
		t.Errorf("%d bytes a run, want at most %d", each, most)
	} else {
		t.Logf("%d bytes a run", each)
	}
}
