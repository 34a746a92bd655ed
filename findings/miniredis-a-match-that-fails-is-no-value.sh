#!/usr/bin/env bash
# miniredis v2.40.0 (gopher-lua v1.1.1), go-redis v9.23.0, Redis 7.0.15 (Debian's redis-server
# 5:7.0.15-1~deb12u10), Go 1.26.
#
# How many values a function of Lua's library returns differs where it has nothing to return. Redis:
# string.match of a text without a match returns nil, table.remove of an empty table no value.
# miniredis has it the other way round. Nothing shows once the result is assigned; a function that
# is called with it at once, tonumber(string.match(...)), works in one and raises "value expected" in
# the other. miniredis calls that an error of compiling. string.find returns nil in both, and
# parentheses around the call make it one value in both.
#
# Output seen (Redis | miniredis):
#   tonumber(string.match("gap", "=(%d+)")): nil | error: value expected
#   tonumber((string.match("gap", "=(%d+)"))): nil | nil
#   tostring(string.find("gap", "=")): nil | nil
#   tostring(table.remove({})): error: value expected | nil
#   tostring((table.remove({}))): nil | nil
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
	"strings"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
)

func main() {
	ctx := context.Background()
	mini := miniredis.NewMiniRedis()
	if err := mini.Start(); err != nil {
		panic(err)
	}
	clients := []*redis.Client{
		redis.NewClient(&redis.Options{Network: "unix", Addr: os.Args[1]}),
		redis.NewClient(&redis.Options{Addr: mini.Addr()}),
	}
	for _, call := range []string{
		`tonumber(string.match("gap", "=(%d+)"))`,
		`tonumber((string.match("gap", "=(%d+)")))`,
		`tostring(string.find("gap", "="))`,
		`tostring(table.remove({}))`,
		`tostring((table.remove({})))`,
	} {
		var got [2]any
		for i, client := range clients {
			var err error
			got[i], err = client.Eval(ctx, "local got = "+call+" return tostring(got)", nil).Result()
			if err != nil && strings.Contains(err.Error(), "value expected") {
				got[i] = "error: value expected"
			} else if err != nil {
				panic(err)
			}
		}
		fmt.Printf("%s: %v | %v\n", call, got[0], got[1])
	}
}
GO
go get github.com/redis/go-redis/v9@v9.23.0 github.com/alicebob/miniredis/v2@v2.40.0 >/dev/null 2>&1
go mod tidy >/dev/null 2>&1
out=$(go run . "$dir/sock")
echo "$out"
[ "$out" = 'tonumber(string.match("gap", "=(%d+)")): nil | error: value expected
tonumber((string.match("gap", "=(%d+)"))): nil | nil
tostring(string.find("gap", "=")): nil | nil
tostring(table.remove({})): error: value expected | nil
tostring((table.remove({}))): nil | nil' ] || { echo "changed"; exit 1; }
