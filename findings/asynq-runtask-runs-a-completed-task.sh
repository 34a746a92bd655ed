#!/usr/bin/env bash
# asynq v0.26.0 on Redis 7.0.15 (Debian's redis-server 5:7.0.15-1~deb12u10), Go 1.26.
#
# Inspector.RunTask makes a completed task that is kept by its Retention pending, and
# it runs again, where its documentation promises an error ("The task needs to be in
# scheduled, retry, or archived state"). It puts the task behind all that are pending.
# So it cannot be used for a task that may be over meanwhile, nor to run one next.
#
# Output seen:
#   RunTask of a completed task: <nil>; runs: 2
#   order after RunTask of "first": [later first]
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
	"sync/atomic"
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
	var runs atomic.Int32
	server := asynq.NewServer(conn, asynq.Config{LogLevel: asynq.FatalLevel})
	must(server.Start(asynq.HandlerFunc(func(context.Context, *asynq.Task) error { runs.Add(1); return nil })))
	_, err := client.Enqueue(asynq.NewTask("t", nil), asynq.TaskID("x"), asynq.Retention(time.Hour))
	must(err)
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if info, err := inspector.GetTaskInfo("default", "x"); err == nil && info.State == asynq.TaskStateCompleted {
			break
		}
	}
	got := inspector.RunTask("default", "x")
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end) && runs.Load() < 2; time.Sleep(50 * time.Millisecond) {
	}
	fmt.Printf("RunTask of a completed task: %v; runs: %d\n", got, runs.Load())
	server.Shutdown()

	_, err = client.Enqueue(asynq.NewTask("t", nil), asynq.Queue("q"), asynq.TaskID("first"), asynq.ProcessIn(time.Hour))
	must(err)
	_, err = client.Enqueue(asynq.NewTask("t", nil), asynq.Queue("q"), asynq.TaskID("later"))
	must(err)
	must(inspector.RunTask("q", "first"))
	pending, err := inspector.ListPendingTasks("q")
	must(err)
	var order []string
	for _, task := range pending {
		order = append(order, task.ID)
	}
	fmt.Printf("order after RunTask of \"first\": %v\n", order)
}
GO
go get github.com/hibiken/asynq@v0.26.0 >/dev/null 2>&1
go mod tidy >/dev/null 2>&1
out=$(go run . "$dir/sock")
echo "$out"
[ "$out" = 'RunTask of a completed task: <nil>; runs: 2
order after RunTask of "first": [later first]' ] || { echo "changed"; exit 1; }
