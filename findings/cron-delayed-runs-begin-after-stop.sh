#!/usr/bin/env bash
# github.com/robfig/cron/v3 v3.0.1, Go 1.26.
#
# Each tick of a job with DelayIfStillRunning is a goroutine that waits for the run before it,
# without bound. Stop ends the ticks, not those that wait: they still begin, one after the
# other, and only when all are over does Stop's context end ("so the caller can wait for running
# jobs to complete"). Remove does not end them either. So a job that was slow for a while goes on
# after Stop for as long as it is behind, where one expects to wait for one run. A wrapper of
# one's own inside it can look whether the program stops.
#
# Output seen (a run takes 3 s, a tick 1 s):
#   stopped after 4 ticks: runs begun 2
#   when Stop's context ends: runs begun 4
#   removed after 4 ticks: runs begun 2, and 8 s later: 4
set -euo pipefail
dir=$(mktemp -d)
trap 'chmod -R u+w "$dir"; rm -rf "$dir"' EXIT
cd "$dir"
go mod init finding >/dev/null 2>&1
cat > main.go <<'GO'
package main

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/robfig/cron/v3"
)

func main() {
	begun := map[string]*atomic.Int32{"stop": {}, "remove": {}}
	until := func(n int) { // half a second after the n-th full second from now
		time.Sleep(time.Until(time.Now().Truncate(time.Second).Add(time.Duration(n)*time.Second + 500*time.Millisecond)))
	}
	start := func(name string) (*cron.Cron, cron.EntryID) {
		c := cron.New(cron.WithChain(cron.DelayIfStillRunning(cron.DiscardLogger)))
		id, err := c.AddFunc("@every 1s", func() { begun[name].Add(1); time.Sleep(2900 * time.Millisecond) })
		if err != nil {
			panic(err)
		}
		c.Start()
		return c, id
	}
	until(1)
	stopped, _ := start("stop")
	removed, id := start("remove")
	until(4)
	over := stopped.Stop()
	removed.Remove(id)
	fmt.Println("stopped after 4 ticks: runs begun", begun["stop"].Load())
	before := begun["remove"].Load()
	<-over.Done()
	fmt.Println("when Stop's context ends: runs begun", begun["stop"].Load())
	until(1)
	fmt.Printf("removed after 4 ticks: runs begun %d, and 8 s later: %d\n", before, begun["remove"].Load())
}
GO
go get github.com/robfig/cron/v3@v3.0.1 >/dev/null 2>&1
go mod tidy >/dev/null 2>&1
out=$(go run .)
echo "$out"
[ "$out" = "stopped after 4 ticks: runs begun 2
when Stop's context ends: runs begun 4
removed after 4 ticks: runs begun 2, and 8 s later: 4" ] || { echo "changed"; exit 1; }
