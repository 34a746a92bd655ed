#!/usr/bin/env bash
# miniredis v2.40.0, go-redis v9.23.0, Redis 7.0.15 (Debian's redis-server 5:7.0.15-1~deb12u10),
# Go 1.26. Redis 8.0.2 and Valkey 8.1.1 drop them too.
#
# In a script Redis turns a number that is joined with "..", given to tostring or encoded by
# cjson into a string of 14 digits: a time in microseconds, or a counter from 10^14 on, becomes
# 1.79e+15 and loses its end, so that two that differ are equal. The same number as an argument
# of redis.call keeps 17 digits, which hides it. miniredis keeps all digits in each case: a script
# that makes an id or a member of TIME passes its tests, and has collisions in production.
# string.format("%.0f", n) is right in both.
#
# Output seen (Redis | miniredis):
#   "id:" .. n: id:1.7959870270771e+15 | id:1795987027077123
#   tostring(n): 1.7959870270771e+15 | 1795987027077123
#   cjson.encode(n): 1.7959870270771e+15 | 1795987027077123
#   redis.call("SET", "k", n): 1795987027077123 | 1795987027077123
#   string.format("%.0f", n): 1795987027077123 | 1795987027077123
#   "id:" .. n == "id:" .. (n + 1): true | false
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
	for _, c := range []struct{ name, script string }{
		{`"id:" .. n`, `return "id:" .. n`},
		{`tostring(n)`, `return tostring(n)`},
		{`cjson.encode(n)`, `return cjson.encode(n)`},
		{`redis.call("SET", "k", n)`, `redis.call("SET", KEYS[1], n) return redis.call("GET", KEYS[1])`},
		{`string.format("%.0f", n)`, `return string.format("%.0f", n)`},
		{`"id:" .. n == "id:" .. (n + 1)`, `return tostring("id:" .. n == "id:" .. (n + 1))`},
	} {
		var got [2]any
		for i, client := range clients {
			// As 1000000 * TIME[1] + TIME[2] gives it.
			value, err := client.Eval(ctx, "local n = 1000000 * ARGV[1] + ARGV[2] "+c.script, []string{"k"}, 1795987027, 77123).Result()
			if err != nil {
				panic(err)
			}
			got[i] = value
		}
		fmt.Printf("%s: %v | %v\n", c.name, got[0], got[1])
	}
}
GO
go get github.com/redis/go-redis/v9@v9.23.0 github.com/alicebob/miniredis/v2@v2.40.0 >/dev/null 2>&1
go mod tidy >/dev/null 2>&1
out=$(go run . "$dir/sock")
echo "$out"
[ "$out" = '"id:" .. n: id:1.7959870270771e+15 | id:1795987027077123
tostring(n): 1.7959870270771e+15 | 1795987027077123
cjson.encode(n): 1.7959870270771e+15 | 1795987027077123
redis.call("SET", "k", n): 1795987027077123 | 1795987027077123
string.format("%.0f", n): 1795987027077123 | 1795987027077123
"id:" .. n == "id:" .. (n + 1): true | false' ] || { echo "changed"; exit 1; }
