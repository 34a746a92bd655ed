#!/usr/bin/env bash
# github.com/redis/go-redis/v9 v9.23.0, miniredis v2.40.0, Go 1.26.
#
# When another goroutine closes a PubSub, a loop that receives from it gets one of two errors,
# by chance: if it is waiting for a message, the network's "use of closed network
# connection"; if it is between two messages, redis.ErrClosed, "redis: client is closed",
# though the client is open and works. So ErrClosed does not mean that the client is closed:
# code that treats it as final never subscribes again, now and then.
#
# Output seen:
#   closed while it waits: net.ErrClosed true, redis.ErrClosed false
#   closed between two messages: net.ErrClosed false, redis.ErrClosed true
#   the client still works
set -euo pipefail
dir=$(mktemp -d)
trap 'chmod -R u+w "$dir"; rm -rf "$dir"' EXIT
cd "$dir"
go mod init finding >/dev/null 2>&1
cat > main.go <<'GO'
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
)

func main() {
	server, err := miniredis.Run()
	if err != nil {
		panic(err)
	}
	defer server.Close()
	client := redis.NewClient(&redis.Options{Addr: server.Addr()})
	defer client.Close()
	ctx := context.Background()
	subscribe := func() *redis.PubSub {
		s := client.Subscribe(ctx, "news")
		if _, err := s.Receive(ctx); err != nil { // the confirmation
			panic(err)
		}
		return s
	}
	tell := func(when string, err error) bool {
		network, closed := errors.Is(err, net.ErrClosed), errors.Is(err, redis.ErrClosed)
		fmt.Printf("%s: net.ErrClosed %v, redis.ErrClosed %v\n", when, network, closed)
		return closed
	}

	waiting := subscribe()
	time.AfterFunc(200*time.Millisecond, func() { _ = waiting.Close() })
	_, err = waiting.Receive(ctx)
	first := tell("closed while it waits", err)

	between := subscribe()
	_ = between.Close()
	_, err = between.Receive(ctx)
	second := tell("closed between two messages", err)

	if client.Ping(ctx).Err() != nil || first || !second {
		fmt.Println("changed")
		os.Exit(1)
	}
	fmt.Println("the client still works")
}
GO
go get github.com/redis/go-redis/v9@v9.23.0 github.com/alicebob/miniredis/v2@v2.40.0 >/dev/null 2>&1
go mod tidy >/dev/null 2>&1
go run .
