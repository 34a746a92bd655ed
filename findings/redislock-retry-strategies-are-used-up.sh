#!/usr/bin/env bash
# github.com/bsm/redislock v0.9.4, go-redis v9.23.0, miniredis v2.40.0, Go 1.26.
#
# The RetryStrategy that LimitRetry or ExponentialBackoff returns has a count that no Obtain sets
# back. Options may be reused (the changelog of 0.7.1: strategies are thread-safe "to allow
# re-using Options"), but then the limit is one for all calls of the process together: after
# some that had to wait, each Obtain of a held key fails without a retry, for ever. An
# ExponentialBackoff without a max goes on where the last call ended: at its 20th wait, of
# whichever call, it is half an hour. A strategy of these two kinds is for one Obtain only;
# LinearBackoff has no count.
#
# Output seen (tries end after 5 waits):
#   LimitRetry of 5, Obtain 1 waits [10ms 10ms 10ms 10ms 10ms]
#   LimitRetry of 5, Obtain 2 waits []
#   ExponentialBackoff, Obtain 1 waits [16ms 16ms 16ms 32ms 64ms]
#   ExponentialBackoff, Obtain 2 waits [128ms 256ms 512ms 1.024s 2.048s]
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
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/bsm/redislock"
	"github.com/redis/go-redis/v9"
)

// seen notes what the strategy within answers, and ends an Obtain after 5 tries.
type seen struct {
	redislock.RetryStrategy
	waits []time.Duration
}

func (s *seen) NextBackoff() time.Duration {
	if len(s.waits) == 5 {
		return 0
	}
	wait := s.RetryStrategy.NextBackoff()
	if wait > 0 {
		s.waits = append(s.waits, wait)
	}
	return wait
}

func main() {
	server := miniredis.NewMiniRedis()
	if err := server.Start(); err != nil {
		panic(err)
	}
	_ = server.Set("job", "of another")
	client := redislock.New(redis.NewClient(&redis.Options{Addr: server.Addr()}))
	for _, c := range []struct {
		name     string
		strategy redislock.RetryStrategy
	}{
		{"LimitRetry of 5", redislock.LimitRetry(redislock.LinearBackoff(10*time.Millisecond), 5)},
		{"ExponentialBackoff", redislock.ExponentialBackoff(16*time.Millisecond, 0)},
	} {
		for i := range 2 {
			s := &seen{RetryStrategy: c.strategy}
			_, err := client.Obtain(context.Background(), "job", time.Hour, &redislock.Options{RetryStrategy: s})
			if !errors.Is(err, redislock.ErrNotObtained) {
				panic(err)
			}
			fmt.Printf("%s, Obtain %d waits %v\n", c.name, i+1, s.waits)
		}
	}
}
GO
go get github.com/bsm/redislock@v0.9.4 github.com/redis/go-redis/v9@v9.23.0 github.com/alicebob/miniredis/v2@v2.40.0 >/dev/null 2>&1
go mod tidy >/dev/null 2>&1
out=$(go run .)
echo "$out"
[ "$out" = 'LimitRetry of 5, Obtain 1 waits [10ms 10ms 10ms 10ms 10ms]
LimitRetry of 5, Obtain 2 waits []
ExponentialBackoff, Obtain 1 waits [16ms 16ms 16ms 32ms 64ms]
ExponentialBackoff, Obtain 2 waits [128ms 256ms 512ms 1.024s 2.048s]' ] || { echo "changed"; exit 1; }
