#!/usr/bin/env bash
# go-redis v9.23.0 on Redis 7.0.15 (Debian's redis-server 5:7.0.15-1~deb12u10), Go 1.26.
#
# Client.Conn() shares the client's Options, but has a mutex of its own for them. While a
# connection is made, go-redis tries CLIENT MAINT_NOTIFICATIONS and, where the server does not
# know it, writes to the Options that this is off: a data race as soon as a Conn and its client
# make connections at the same time, with default options. A clone made by WithTimeout has
# Options of its own, and a Conn of that does not race.
#
# Output seen:
#   Conn of the client: data race in initConn
#   Conn of a clone: no data race
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
	"os"
	"sync"

	"github.com/redis/go-redis/v9"
)

func main() {
	ctx := context.Background()
	for range 50 {
		client := redis.NewClient(&redis.Options{Network: "unix", Addr: os.Args[1]})
		parent := client
		if os.Args[2] == "clone" {
			parent = client.WithTimeout(client.Options().ReadTimeout)
		}
		conn := parent.Conn()
		var both sync.WaitGroup
		both.Go(func() { conn.Ping(ctx) })
		both.Go(func() { client.Ping(ctx) })
		both.Wait()
		conn.Close()
		client.Close()
	}
}
GO
go get github.com/redis/go-redis/v9@v9.23.0 >/dev/null 2>&1
go build -race -o program .
outcome() {
	if GORACE=halt_on_error=1 ./program "$dir/sock" "$1" >out 2>&1; then
		echo "no data race"
	elif grep -q 'DATA RACE' out && grep -q 'initConn' out; then
		echo "data race in initConn"
	else
		cat out
	fi
}
got="Conn of the client: $(outcome client)
Conn of a clone: $(outcome clone)"
echo "$got"
[ "$got" = "Conn of the client: data race in initConn
Conn of a clone: no data race" ]
