#!/usr/bin/env bash
# github.com/redis/go-redis/v9 v9.23.0, miniredis v2.40.0, Go 1.26.
#
# Client.WithTimeout returns a clone over the same connections. Its documentation does not say
# that the clone has none of the client's hooks: instrumentation that is a hook, as all of
# redisotel's tracing is, sees no command that is sent through the clone.
#
# Output seen:
#   through the client: the hook saw 1 command and 1 pipeline
#   through its clone: the hook saw 0 commands and 0 pipelines
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
	"os"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
)

type counter struct{ commands, pipelines int }

func (c *counter) DialHook(next redis.DialHook) redis.DialHook { return next }

func (c *counter) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if cmd.Name() == "get" {
			c.commands++
		}
		return next(ctx, cmd)
	}
}

func (c *counter) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if cmds[0].Name() == "get" {
			c.pipelines++
		}
		return next(ctx, cmds)
	}
}

func main() {
	server, err := miniredis.Run()
	if err != nil {
		panic(err)
	}
	defer server.Close()
	client := redis.NewClient(&redis.Options{Addr: server.Addr()})
	defer client.Close()
	ctx := context.Background()
	seen := new(counter)
	client.AddHook(seen)

	use := func(c *redis.Client) {
		c.Get(ctx, "key")
		pipe := c.Pipeline()
		pipe.Get(ctx, "key")
		pipe.Get(ctx, "key")
		_, _ = pipe.Exec(ctx)
	}
	use(client)
	fmt.Printf("through the client: the hook saw %d command and %d pipeline\n", seen.commands, seen.pipelines)
	use(client.WithTimeout(time.Second))
	fmt.Printf("through its clone: the hook saw %d commands and %d pipelines\n", seen.commands-1, seen.pipelines-1)
	if *seen != (counter{1, 1}) {
		fmt.Println("changed")
		os.Exit(1)
	}
}
GO
go get github.com/redis/go-redis/v9@v9.23.0 github.com/alicebob/miniredis/v2@v2.40.0 >/dev/null 2>&1
go mod tidy >/dev/null 2>&1
go run .
