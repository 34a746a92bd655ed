#!/usr/bin/env bash
# github.com/go-co-op/gocron/v2 v2.21.2, redislock v0.9.4, go-redis v9.23.0, miniredis v2.40.0,
# Go 1.26.
#
# A scheduler with a distributed locker releases a job's lock with the job's context. Shutdown,
# StopJobs and RemoveJob cancel that context and let the run go on to its end; then Lock.Unlock
# gets a context that is cancelled already, and gocron drops its error. An Unlock that hands its
# context to the client, as those of redislock and redsync do, sends nothing: the key stays for
# the rest of its TTL, and no other instance runs the job until then, so that each clean stop of
# an instance costs runs. Unlock should use context.WithoutCancel(ctx). The documentation of
# Locker and Lock says only that the lock is released after the run.
#
# Output seen:
#   the run ends by itself: Unlock's context: <nil>, error: <nil>, keys: 0
#   Shutdown in mid-run: Unlock's context: context canceled, error: context canceled, keys: 1
#   StopJobs in mid-run: Unlock's context: context canceled, error: context canceled, keys: 1
#   RemoveJob in mid-run: Unlock's context: context canceled, error: context canceled, keys: 1
set -euo pipefail
dir=$(mktemp -d)
trap 'chmod -R u+w "$dir"; rm -rf "$dir"' EXIT
cd "$dir"
go mod init finding >/dev/null 2>&1
cat > main.go <<'GO'
package main

import (
	"context"
	"fmt"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/bsm/redislock"
	"github.com/go-co-op/gocron/v2"
	"github.com/redis/go-redis/v9"
)

type locker struct {
	client *redislock.Client
	said   chan string
}

type lock struct {
	*redislock.Lock
	said chan string
}

func (l locker) Lock(ctx context.Context, key string) (gocron.Lock, error) {
	held, err := l.client.Obtain(ctx, key, time.Hour, nil)
	if err != nil {
		return nil, err
	}
	return lock{held, l.said}, nil
}

func (l lock) Unlock(ctx context.Context) error {
	err := l.Release(ctx)
	l.said <- fmt.Sprintf("Unlock's context: %v, error: %v", ctx.Err(), err)
	return err
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func main() {
	server := miniredis.NewMiniRedis()
	must(server.Start())
	client := redis.NewClient(&redis.Options{Addr: server.Addr()})
	for _, c := range []struct {
		how string
		do  func(gocron.Scheduler, gocron.Job) error
	}{
		{"the run ends by itself", func(gocron.Scheduler, gocron.Job) error { return nil }},
		{"Shutdown in mid-run", func(s gocron.Scheduler, _ gocron.Job) error { return s.Shutdown() }},
		{"StopJobs in mid-run", func(s gocron.Scheduler, _ gocron.Job) error { return s.StopJobs() }},
		{"RemoveJob in mid-run", func(s gocron.Scheduler, j gocron.Job) error { return s.RemoveJob(j.ID()) }},
	} {
		said, started := make(chan string, 1), make(chan struct{})
		scheduler, err := gocron.NewScheduler(gocron.WithDistributedLocker(locker{redislock.New(client), said}))
		must(err)
		job, err := scheduler.NewJob(gocron.OneTimeJob(gocron.OneTimeJobStartImmediately()),
			gocron.NewTask(func() { close(started); time.Sleep(2 * time.Second) }), gocron.WithName(c.how))
		must(err)
		scheduler.Start()
		<-started
		must(c.do(scheduler, job))
		fmt.Printf("%s: %s, keys: %d\n", c.how, <-said, client.Exists(context.Background(), c.how).Val())
	}
}
GO
go get github.com/go-co-op/gocron/v2@v2.21.2 github.com/bsm/redislock@v0.9.4 github.com/redis/go-redis/v9@v9.23.0 github.com/alicebob/miniredis/v2@v2.40.0 >/dev/null 2>&1
go mod tidy >/dev/null 2>&1
out=$(go run .)
echo "$out"
cancelled="Unlock's context: context canceled, error: context canceled, keys: 1"
[ "$out" = "the run ends by itself: Unlock's context: <nil>, error: <nil>, keys: 0
Shutdown in mid-run: $cancelled
StopJobs in mid-run: $cancelled
RemoveJob in mid-run: $cancelled" ] || { echo "changed"; exit 1; }
