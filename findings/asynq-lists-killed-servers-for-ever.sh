#!/usr/bin/env bash
# asynq v0.26.0 on Redis 7.0.15 (Debian's redis-server 5:7.0.15-1~deb12u10), Go 1.26.
#
# What asynq keeps of a server that was killed expires 10 s after its last sign of life.
# Its places in the sorted sets asynq:servers and asynq:workers, which have no TTL, do not:
# they stay until somebody calls Inspector.Servers, which removes all whose time is over.
# Other servers that start, work and shut down remove only their own. A fleet whose pods are
# often killed, and that no dashboard or inspector looks at, gathers them without bound; and
# who cleans up by what a place's key says finds no key.
#
# Output seen:
#   after 12 s: its key: 0, places: 1, TTL of the list: -1ns
#   after another server came and went: places: 1
#   after Inspector.Servers, which names 0: places: 0
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
	"os/exec"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
)

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func serve(conn asynq.RedisClientOpt) *asynq.Server {
	server := asynq.NewServer(conn, asynq.Config{LogLevel: asynq.FatalLevel})
	must(server.Start(asynq.HandlerFunc(func(context.Context, *asynq.Task) error { return nil })))
	return server
}

func main() {
	conn, ctx := asynq.RedisClientOpt{Network: "unix", Addr: os.Args[1]}, context.Background()
	if len(os.Args) > 2 { // the server that is killed
		serve(conn)
		select {}
	}
	client := redis.NewClient(&redis.Options{Network: "unix", Addr: os.Args[1]})
	places := func() int64 { return client.ZCard(ctx, "asynq:servers").Val() }

	child := exec.Command(os.Args[0], os.Args[1], "child")
	must(child.Start())
	var key string
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if all := client.ZRange(ctx, "asynq:servers", 0, -1).Val(); len(all) == 1 && client.Exists(ctx, all[0]).Val() == 1 {
			key = all[0]
			break
		}
	}
	must(child.Process.Kill())
	_ = child.Wait()
	time.Sleep(12 * time.Second)
	fmt.Printf("after 12 s: its key: %d, places: %d, TTL of the list: %v\n", client.Exists(ctx, key).Val(), places(), client.TTL(ctx, "asynq:servers").Val())

	other := serve(conn)
	time.Sleep(time.Second)
	other.Shutdown()
	fmt.Printf("after another server came and went: places: %d\n", places())

	time.Sleep(time.Second)
	servers, err := asynq.NewInspector(conn).Servers()
	must(err)
	fmt.Printf("after Inspector.Servers, which names %d: places: %d\n", len(servers), places())
}
GO
go get github.com/hibiken/asynq@v0.26.0 >/dev/null 2>&1
go mod tidy >/dev/null 2>&1
go build -o main .
out=$(./main "$dir/sock")
echo "$out"
[ "$out" = 'after 12 s: its key: 0, places: 1, TTL of the list: -1ns
after another server came and went: places: 1
after Inspector.Servers, which names 0: places: 0' ] || { echo "changed"; exit 1; }
