package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-redsync/redsync/v4"
	"github.com/go-redsync/redsync/v4/redis/goredis/v9"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/lease/redisstore"
	"github.com/jobguard/jobguard/internal/redistest"
)

// Nothing but time wakes a waiter beside another program's lock, so a process polls as
// that program's users do.
func TestCallersBesideRedsyncOnOneKeyGetTheirShare(t *testing.T) {
	for _, n := range []struct{ ours, theirs int }{{1, 1}, {1, 4}, {4, 4}} {
		t.Run(fmt.Sprintf("%d and %d of redsync", n.ours, n.theirs), func(t *testing.T) {
			for range 3 { // one quiet moment of the machine is enough
				ours, theirs, together := turnsBesideRedsync(t, n.ours, n.theirs, 8*time.Second)
				t.Logf("%d turns, %d of redsync", ours, theirs)
				if together > 0 {
					t.Errorf("%d runs began beside another", together)
				}
				if float64(ours)/float64(n.ours) >= 0.7*float64(theirs)/float64(n.theirs) {
					return
				}
			}
			t.Error("less than 0.7 of the share each time")
		})
	}
}

// turnsBesideRedsync has callers of both kinds take turns on one key for d, and counts
// the turns, and those that began while another was not over.
func turnsBesideRedsync(t *testing.T, guards, mutexes int, d time.Duration) (ours, theirs, together int64) {
	server := redistest.Start(t)
	ctx, stop := context.WithCancel(t.Context())
	var count [3]atomic.Int64
	var inside atomic.Int64
	work := func(turns *atomic.Int64) {
		if inside.Add(1) > 1 {
			count[2].Add(1)
		}
		time.Sleep(20 * time.Millisecond)
		turns.Add(1)
		inside.Add(-1)
	}
	// Without it the one that has the key takes it again before any other looks.
	pause := func() { time.Sleep(rand.N(40 * time.Millisecond)) }
	var running sync.WaitGroup
	for range guards {
		g, err := guard.New(redisstore.New(server.Client(t), redisstore.Prefix("")))
		if err != nil {
			t.Fatal(err)
		}
		running.Go(func() {
			for ctx.Err() == nil {
				_ = g.Do(ctx, "hot", func(context.Context) error { work(&count[0]); return nil })
				pause()
			}
		})
	}
	for range mutexes {
		mutex := redsync.New(goredis.NewPool(server.Client(t))).NewMutex("hot")
		running.Go(func() {
			for ctx.Err() == nil {
				if mutex.LockContext(ctx) == nil {
					work(&count[1])
					_, _ = mutex.UnlockContext(context.WithoutCancel(ctx))
					pause()
				}
			}
		})
	}
	time.Sleep(d)
	stop()
	running.Wait()
	return count[0].Load(), count[1].Load(), count[2].Load()
}
