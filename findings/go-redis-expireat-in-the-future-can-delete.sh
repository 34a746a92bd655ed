#!/usr/bin/env bash
# github.com/redis/go-redis/v9 v9.23.0, miniredis v2.40.0, Go 1.26. Redis 7.0.15 does the same.
#
# ExpireAt (HExpireAt too) sends the time's second without its fraction, and no documentation
# says so: the key goes up to a second early, and a time that is in the future, but in the
# second that it is now, is one of the past for the server, so that the key is deleted at once,
# with the answer true. Expire rounds a part of a second up to one, and logs that; above a
# second it drops the fraction as well. PExpireAt and PExpire keep milliseconds.
#
# Output seen (it is 12:00:00.1):
#   PExpireAt(12:00:00.9): true, key left for 800ms
#   ExpireAt(12:00:00.9): true, no key
#   ExpireAt(12:00:01.9): true, key left for 900ms
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
	"github.com/redis/go-redis/v9"
)

func main() {
	server := miniredis.NewMiniRedis()
	if err := server.Start(); err != nil {
		panic(err)
	}
	noon := time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)
	server.SetTime(noon.Add(100 * time.Millisecond))
	ctx := context.Background()
	client := redis.NewClient(&redis.Options{Addr: server.Addr()})
	for _, c := range []struct {
		name string
		set  func(context.Context, string, time.Time) *redis.BoolCmd
		at   time.Duration
	}{
		{"PExpireAt", client.PExpireAt, 900 * time.Millisecond},
		{"ExpireAt", client.ExpireAt, 900 * time.Millisecond},
		{"ExpireAt", client.ExpireAt, 1900 * time.Millisecond},
	} {
		client.Set(ctx, "lease", "me", 0)
		at := noon.Add(c.at)
		answer, err := c.set(ctx, "lease", at).Result()
		if err != nil {
			panic(err)
		}
		left := "no key"
		if client.Exists(ctx, "lease").Val() == 1 {
			left = fmt.Sprintf("key left for %v", client.PTTL(ctx, "lease").Val())
		}
		fmt.Printf("%s(%s): %v, %s\n", c.name, at.Format("15:04:05.9"), answer, left)
	}
}
GO
go get github.com/redis/go-redis/v9@v9.23.0 github.com/alicebob/miniredis/v2@v2.40.0 >/dev/null 2>&1
go mod tidy >/dev/null 2>&1
out=$(go run .)
echo "$out"
[ "$out" = 'PExpireAt(12:00:00.9): true, key left for 800ms
ExpireAt(12:00:00.9): true, no key
ExpireAt(12:00:01.9): true, key left for 900ms' ] || { echo "changed"; exit 1; }
