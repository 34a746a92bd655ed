package main

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/jobguard/jobguard/internal/redistest"
)

// Of three servers, one has just been killed, one was killed so long ago that only its
// place in asynq's lists is left, and one is another program's.
func TestForgettingAQueueLeavesOthersServersAlone(t *testing.T) {
	t.Parallel()
	redisServer := redistest.Start(t)
	client := redisServer.Client(t)
	places := func() []string { return client.ZRange(t.Context(), "asynq:servers", 0, -1).Val() }

	// run starts an asynq server and returns its place. It is stopped only after the
	// test, so that until then it has told nobody that it ends.
	run := func(queue string) string {
		before := places()
		s := asynq.NewServer(asynq.RedisClientOpt{Addr: redisServer.Addr()},
			asynq.Config{Queues: map[string]int{queue: 1}, LogLevel: asynq.FatalLevel, ShutdownTimeout: time.Millisecond})
		if err := s.Start(asynq.HandlerFunc(func(context.Context, *asynq.Task) error { return nil })); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Shutdown)
		for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
			for _, place := range places() {
				if !slices.Contains(before, place) && client.Exists(t.Context(), place).Val() == 1 {
					return place
				}
			}
		}
		t.Fatal("the server shows no sign of life")
		return ""
	}
	run("inventory-ours")
	expired := run("inventory-ours")
	others := run("others")
	client.Del(t.Context(), expired)
	workersOf := func(server string) string { return strings.Replace(server, "servers", "workers", 1) }
	over := float64(time.Now().Add(-time.Second).Unix())
	client.ZAdd(t.Context(), "asynq:servers", redis.Z{Score: over, Member: expired})
	client.ZAdd(t.Context(), "asynq:workers", redis.Z{Score: over, Member: workersOf(expired)})

	if err := forgetQueue(client, "inventory-ours"); err != nil {
		t.Fatal(err)
	}
	if got := places(); !slices.Equal(got, []string{others}) {
		t.Errorf("places left: %q, want %q only", got, others)
	}
	if got := client.ZRange(t.Context(), "asynq:workers", 0, -1).Val(); !slices.Equal(got, []string{workersOf(others)}) {
		t.Errorf("places of workers left: %q, want %q only", got, workersOf(others))
	}
	if client.Exists(t.Context(), others).Val() != 1 {
		t.Error("what asynq knows of the other server is gone")
	}
}
