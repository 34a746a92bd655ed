package redisstore_test

import (
	"context"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

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
		if err != nil || !released.Released && !released.Resent { // sent again, it finds what the first has released
			t.Fatalf("Release() = %+v, %v", released, err)
		}
	}
	run() // connects
	var each uint64
	for range 5 { // a stall of the machine makes connections, which are large
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range runs {
			run()
		}
		runtime.ReadMemStats(&after)
		if each = (after.TotalAlloc - before.TotalAlloc) / runs; each <= most {
			t.Logf("%d bytes a run", each)
			return
		}
	}
	t.Errorf("%d bytes a run, want at most %d", each, most)
}

// keeper keeps all commands, and what they were when their call ended.
type keeper struct {
	kept *[]redis.Cmder
	was  *[]string
}

func (keeper) DialHook(next redis.DialHook) redis.DialHook { return next }

func (k keeper) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		defer k.keep(cmd)
		return next(ctx, cmd)
	}
}

func (k keeper) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		defer k.keep(cmds...)
		return next(ctx, cmds)
	}
}

func (k keeper) keep(cmds ...redis.Cmder) {
	for _, cmd := range cmds {
		*k.kept, *k.was = append(*k.kept, cmd), append(*k.was, text(cmd))
	}
}

// text follows pointers, which arguments of the store may be.
func text(cmd redis.Cmder) string {
	var b []byte
	for _, arg := range cmd.Args() {
		switch v := arg.(type) {
		case *string:
			b = fmt.Append(b, *v, " ")
		case *int64:
			b = fmt.Append(b, *v, " ")
		default:
			b = fmt.Append(b, v, " ")
		}
	}
	return fmt.Sprintf("%s(%v)", b, cmd.Err())
}

// A program's hook may look at a command long after its call has ended.
func TestCommandsThatAHookMayKeepAreNotUsedAgain(t *testing.T) {
	var k keeper
	k.kept, k.was = new([]redis.Cmder), new([]string)
	client := redistest.Start(t).Client(t, withDeadlines)
	store := redisstore.New(client)
	run := func() {
		owner := store.NewOwner("")
		attempt := lease.NewAttempt(time.Now().Add(10 * time.Second))
		defer attempt.End()
		reply, err := store.Acquire(attempt, lease.AcquireRequest{Key: "k", Owner: owner, TTL: 10 * time.Second, TokenCount: 1})
		must(t, err)
		_, err = store.Release(attempt, lease.ReleaseRequest{Key: "k", Owner: owner, Fence: reply.Fence, LastFence: reply.Fence})
		must(t, err)
	}
	run() // connects, and sends the scripts in full
	run()
	client.AddHook(k)
	for range 20 {
		run()
	}
	changed, tries := 0, 0
	for i, cmd := range *k.kept {
		if text(cmd) != (*k.was)[i] {
			changed++
		}
		if cmd.Name() == "exists" {
			tries++
		}
	}
	if changed > 0 || tries == 0 {
		t.Errorf("of %d commands, %d of them of first tries, %d changed after their call", len(*k.kept), tries, changed)
	}
}
