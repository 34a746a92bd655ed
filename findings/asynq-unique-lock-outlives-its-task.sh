#!/usr/bin/env bash
# asynq v0.26.0 on Redis 7.0.15 (Debian's redis-server 5:7.0.15-1~deb12u10), Go 1.26.
#
# The lock of a task enqueued with Unique goes when the task succeeds or is deleted, else with
# its TTL. In three cases it stays for the TTL though there is no such task (any more), so that
# Enqueue answers ErrDuplicateTask and the work is not done:
# - an Enqueue with TaskID that fails with ErrTaskIDConflict has taken the lock before it looked
#   at the ID, and keeps it for a task that was never enqueued: the retry that is due once the
#   other task is over is refused;
# - a task of a Group loses its lock neither when it is aggregated nor when the aggregate
#   succeeds;
# - Inspector.DeleteQueue with force deletes the tasks and leaves their locks.
#
# Output seen:
#   ID is taken: task ID conflicts with another task; other task deleted; again: task already exists
#   aggregated and processed; again: task already exists
#   queue deleted; again: task already exists
#   for comparison, processed without a group; again: <nil>
set -euo pipefail
version=5:7.0.15-1~deb12u10
dir=$(mktemp -d)
trap 'kill "$(cat "$dir/pid" 2>/dev/null)" 2>/dev/null || true; chmod -R u+w "$dir"; rm -rf "$dir"' EXIT
cd "$dir"
apt-get download -qq "redis-server=$version" "redis-tools=$version"
for deb in *.deb; do dpkg-deb -x "$deb" .; done
./usr/bin/redis-server --port 0 --unixsocket "$dir/sock" --save '' --daemonize yes --pidfile "$dir/pid" --dir "$dir" >/dev/null
for _ in $(seq 100); do [ "$(./usr/bin/redis-cli -s "$dir/sock" ping 2>&1)" = PONG ] && break; sleep 0.1; done

mkdir program && cd program
go mod init finding >/dev/null 2>&1
cat > main.go <<'GO'
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/hibiken/asynq"
)

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func main() {
	conn := asynq.RedisClientOpt{Network: "unix", Addr: os.Args[1]}
	client, inspector := asynq.NewClient(conn), asynq.NewInspector(conn)
	enqueue := func(payload string, opts ...asynq.Option) error {
		_, err := client.Enqueue(asynq.NewTask("t", []byte(payload)), append(opts, asynq.Unique(time.Hour))...)
		return err
	}

	must(enqueue("one", asynq.TaskID("x")))
	conflict := enqueue("two", asynq.TaskID("x"))
	must(inspector.DeleteTask("default", "x"))
	fmt.Printf("ID is taken: %v; other task deleted; again: %v\n", conflict, enqueue("two", asynq.TaskID("x")))

	processed := make(chan string, 9)
	server := asynq.NewServer(conn, asynq.Config{
		LogLevel:         asynq.FatalLevel,
		Queues:           map[string]int{"groups": 1, "plain": 1},
		GroupGracePeriod: time.Second,
		GroupAggregator: asynq.GroupAggregatorFunc(func(string, []*asynq.Task) *asynq.Task {
			return asynq.NewTask("aggregate", nil)
		}),
	})
	must(server.Start(asynq.HandlerFunc(func(_ context.Context, task *asynq.Task) error {
		processed <- task.Type()
		return nil
	})))
	must(enqueue("of a group", asynq.Queue("groups"), asynq.Group("g")))
	if got := <-processed; got != "aggregate" {
		panic(got)
	}
	time.Sleep(2 * time.Second)
	grouped := enqueue("of a group", asynq.Queue("groups"), asynq.Group("g"))
	must(enqueue("plain", asynq.Queue("plain")))
	<-processed
	time.Sleep(2 * time.Second)
	plain := enqueue("plain", asynq.Queue("plain"))
	server.Shutdown()
	fmt.Printf("aggregated and processed; again: %v\n", grouped)

	must(enqueue("q", asynq.Queue("q")))
	must(inspector.DeleteQueue("q", true))
	fmt.Printf("queue deleted; again: %v\n", enqueue("q", asynq.Queue("q")))
	fmt.Printf("for comparison, processed without a group; again: %v\n", plain)
}
GO
go get github.com/hibiken/asynq@v0.26.0 >/dev/null 2>&1
go mod tidy >/dev/null 2>&1
out=$(timeout 120 go run . "$dir/sock")
echo "$out"
[ "$out" = 'ID is taken: task ID conflicts with another task; other task deleted; again: task already exists
aggregated and processed; again: task already exists
queue deleted; again: task already exists
for comparison, processed without a group; again: <nil>' ] || { echo "changed"; exit 1; }
