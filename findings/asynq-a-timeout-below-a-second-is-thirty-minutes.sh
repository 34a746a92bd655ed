#!/usr/bin/env bash
# asynq v0.26.0 on Redis 7.0.15 (Debian's redis-server 5:7.0.15-1~deb12u10), Go 1.26.
#
# The documentation of Timeout says "Zero duration means no limit", but Timeout(0) alone counts
# as not set, and the default of 30 minutes holds. A timeout is kept in whole seconds, rounded
# down: one of less than a second is zero in TaskInfo, and 30 minutes for the handler. There is
# no value for "no limit", only a long one; without one, a task that takes longer is given up
# after 30 minutes and begun again, while its handler may still be running.
#
# Output seen:
#   Timeout(0s): TaskInfo.Timeout 30m0s, the handler's context ends in 30m0s
#   Timeout(900ms): TaskInfo.Timeout 0s, the handler's context ends in 30m0s
#   Timeout(2.9s): TaskInfo.Timeout 2s, the handler's context ends in 2s
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
	client := asynq.NewClient(conn)
	limits := make(chan time.Duration, 9)
	server := asynq.NewServer(conn, asynq.Config{LogLevel: asynq.FatalLevel})
	must(server.Start(asynq.HandlerFunc(func(ctx context.Context, _ *asynq.Task) error {
		if deadline, ok := ctx.Deadline(); ok {
			limits <- time.Until(deadline)
		} else {
			limits <- 0
		}
		return nil
	})))
	for _, d := range []time.Duration{0, 900 * time.Millisecond, 2900 * time.Millisecond} {
		info, err := client.Enqueue(asynq.NewTask("t", nil), asynq.Timeout(d))
		must(err)
		// Up to a second less, as a busy machine is late.
		limit := (<-limits + 999*time.Millisecond).Truncate(time.Second)
		fmt.Printf("Timeout(%v): TaskInfo.Timeout %v, the handler's context ends in %v\n", d, info.Timeout, limit)
	}
	server.Shutdown()
}
GO
go get github.com/hibiken/asynq@v0.26.0 >/dev/null 2>&1
go mod tidy >/dev/null 2>&1
out=$(go run . "$dir/sock")
echo "$out"
[ "$out" = "Timeout(0s): TaskInfo.Timeout 30m0s, the handler's context ends in 30m0s
Timeout(900ms): TaskInfo.Timeout 0s, the handler's context ends in 30m0s
Timeout(2.9s): TaskInfo.Timeout 2s, the handler's context ends in 2s" ] || { echo "changed"; exit 1; }
