#!/usr/bin/env bash
# github.com/go-redsync/redsync/v4 v4.18.1, go-redis v9.23.0, miniredis v2.40.0, Go 1.26.
#
# When a mutex has expired and nobody has taken it, Extend returns ErrTaken, "lock already
# taken", as if another held it. ErrExtendFailed, by its documentation what a failed extension
# gives, comes only if the servers answered too late; ErrLockAlreadyExpired comes from
# Unlock alone, which tells the two apart. So ErrTaken of Extend does not say that another runs
# now: a program that leaves the rest of the work to that other may leave it to nobody.
#
# Output seen:
#   expired and free: Extend: lock already taken, locked nodes: [0]
#   expired and free: Unlock: redsync: failed to unlock, lock was already expired
#   expired and taken: Extend: lock already taken, locked nodes: [0]
#   expired and taken: Unlock: lock already taken, locked nodes: [0]
set -euo pipefail
dir=$(mktemp -d)
trap 'chmod -R u+w "$dir"; rm -rf "$dir"' EXIT
cd "$dir"
go mod init finding >/dev/null 2>&1
cat > main.go <<'GO'
package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/go-redsync/redsync/v4"
	"github.com/go-redsync/redsync/v4/redis/goredis/v9"
	"github.com/redis/go-redis/v9"
)

func main() {
	server := miniredis.NewMiniRedis()
	if err := server.Start(); err != nil {
		panic(err)
	}
	locks := redsync.New(goredis.NewPool(redis.NewClient(&redis.Options{Addr: server.Addr()})))
	for _, taken := range []bool{false, true} {
		state := "expired and free"
		mutex := locks.NewMutex("job", redsync.WithExpiry(time.Minute))
		if err := mutex.Lock(); err != nil {
			panic(err)
		}
		server.FastForward(time.Hour)
		if server.Exists("job") {
			panic("not expired")
		}
		if taken {
			state = "expired and taken"
			if err := locks.NewMutex("job").Lock(); err != nil {
				panic(err)
			}
		}
		_, extend := mutex.Extend()
		_, unlock := mutex.Unlock()
		var is *redsync.ErrTaken
		if !errors.As(extend, &is) {
			panic(extend)
		}
		fmt.Printf("%s: Extend: %v\n%s: Unlock: %v\n", state, extend, state, unlock)
	}
}
GO
go get github.com/go-redsync/redsync/v4@v4.18.1 github.com/redis/go-redis/v9@v9.23.0 github.com/alicebob/miniredis/v2@v2.40.0 >/dev/null 2>&1
go mod tidy >/dev/null 2>&1
out=$(go run .)
echo "$out"
[ "$out" = 'expired and free: Extend: lock already taken, locked nodes: [0]
expired and free: Unlock: redsync: failed to unlock, lock was already expired
expired and taken: Extend: lock already taken, locked nodes: [0]
expired and taken: Unlock: lock already taken, locked nodes: [0]' ] || { echo "changed"; exit 1; }
