#!/usr/bin/env bash
# asynq v0.26.0 on Redis 7.0.15 (Debian's redis-server 5:7.0.15-1~deb12u10), Go 1.26.
#
# If the provider of a PeriodicTaskManager returns two equal configs (a query that finds a row
# twice), both are registered, and each tick is enqueued twice; but only the second is
# remembered. So nothing changes when the provider returns one of them, as it is known already,
# and when it returns none, the first stays: its task is enqueued until the process ends,
# though the source has not had it for long. A provider should drop what is equal.
#
# Output seen (tasks enqueued in 3 ticks):
#   the config twice: 6
#   then once: 6
#   then no config: 3
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
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/hibiken/asynq"
)

type provider struct {
	mu      sync.Mutex
	configs []*asynq.PeriodicTaskConfig
}

func (p *provider) GetConfigs() ([]*asynq.PeriodicTaskConfig, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.configs, nil
}

func (p *provider) set(configs ...*asynq.PeriodicTaskConfig) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.configs = configs
}

func main() {
	var p provider
	enqueued := make(chan string, 1000) // the queues
	start := func() *asynq.PeriodicTaskManager {
		manager, err := asynq.NewPeriodicTaskManager(asynq.PeriodicTaskManagerOpts{
			PeriodicTaskConfigProvider: &p,
			RedisConnOpt:               asynq.RedisClientOpt{Network: "unix", Addr: os.Args[1]},
			SyncInterval:               100 * time.Millisecond,
			SchedulerOpts: &asynq.SchedulerOpts{LogLevel: asynq.FatalLevel, PostEnqueueFunc: func(info *asynq.TaskInfo, err error) {
				if err == nil {
					enqueued <- info.Queue
				}
			}},
		})
		if err == nil {
			err = manager.Start()
		}
		if err != nil {
			panic(err)
		}
		return manager
	}
	ticks := func() map[string]int { // counts 3, after 1 that is not counted
		until := func(n int) {
			time.Sleep(time.Until(time.Now().Truncate(time.Second).Add(time.Duration(n)*time.Second + 500*time.Millisecond)))
		}
		until(1)
		for len(enqueued) > 0 {
			<-enqueued
		}
		until(3)
		count := map[string]int{}
		for ; len(enqueued) > 0; count[<-enqueued]++ {
		}
		return count
	}
	config := func() *asynq.PeriodicTaskConfig {
		return &asynq.PeriodicTaskConfig{Cronspec: "@every 1s", Task: asynq.NewTask("t", nil)}
	}
	p.set(config(), config())
	manager := start()
	fmt.Println("the config twice:", ticks()["default"])
	p.set(config())
	fmt.Println("then once:", ticks()["default"])
	p.set()
	fmt.Println("then no config:", ticks()["default"])
	manager.Shutdown()
}
GO
go get github.com/hibiken/asynq@v0.26.0 >/dev/null 2>&1
go mod tidy >/dev/null 2>&1
out=$(go run . "$dir/sock")
echo "$out"
[ "$out" = 'the config twice: 6
then once: 6
then no config: 3' ] || { echo "changed"; exit 1; }
