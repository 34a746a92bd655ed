#!/usr/bin/env bash
# rueidislock of rueidis v1.0.79 on Redis 7.0.15 (Debian's redis-server 5:7.0.15-1~deb12u10),
# Go 1.26.
#
# The function that releases a lock is a context.CancelFunc, of which Go's documentation says
# that it does not wait. This one waits until the keys are deleted: while the server answers
# that is a round trip, but if it hangs (here it is stopped) it is what is left of KeyValidity,
# 5 s by default, though the lock's context has ended at once. So a defer cancel() holds up each
# handler that had a lock, and a shutdown.
#
# Output seen (KeyValidity 5 s):
#   the server answers: cancel returns at once
#   the server hangs: the context ends at once, cancel returns after 4 to 5 s
set -euo pipefail
version=5:7.0.15-1~deb12u10
dir=$(mktemp -d)
trap 'kill -CONT "$(cat "$dir/pid" 2>/dev/null)" 2>/dev/null || true; kill "$(cat "$dir/pid" 2>/dev/null)" 2>/dev/null || true; chmod -R u+w "$dir"; rm -rf "$dir"' EXIT
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
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"strconv"
	"syscall"
	"time"

	"github.com/redis/rueidis"
	"github.com/redis/rueidis/rueidislock"
)

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// about rounds what a busy machine adds.
func about(d time.Duration) string {
	switch {
	case d < time.Second:
		return "at once"
	case d >= 3900*time.Millisecond && d < 6*time.Second:
		return "after 4 to 5 s"
	}
	return "after " + d.String()
}

func main() {
	server, err := strconv.Atoi(os.Args[2])
	must(err)
	locker, err := rueidislock.NewLocker(rueidislock.LockerOption{
		KeyMajority:    1,
		NoLoopTracking: true,
		ClientOption: rueidis.ClientOption{
			InitAddress: []string{os.Args[1]},
			DialCtxFn: func(ctx context.Context, path string, dialer *net.Dialer, _ *tls.Config) (net.Conn, error) {
				return dialer.DialContext(ctx, "unix", path)
			},
		},
	})
	must(err)
	_, cancel, err := locker.WithContext(context.Background(), "job")
	must(err)
	start := time.Now()
	cancel()
	fmt.Println("the server answers: cancel returns", about(time.Since(start)))

	ctx, cancel, err := locker.WithContext(context.Background(), "job")
	must(err)
	must(syscall.Kill(server, syscall.SIGSTOP))
	start = time.Now()
	ended := make(chan time.Duration, 1)
	context.AfterFunc(ctx, func() { ended <- time.Since(start) })
	cancel()
	took := time.Since(start)
	must(syscall.Kill(server, syscall.SIGCONT))
	fmt.Printf("the server hangs: the context ends %s, cancel returns %s\n", about(<-ended), about(took))
}
GO
go get github.com/redis/rueidis@v1.0.79 >/dev/null 2>&1
go mod tidy >/dev/null 2>&1
go build -o program .
out=$(./program "$dir/sock" "$(cat "$dir/pid")")
echo "$out"
[ "$out" = 'the server answers: cancel returns at once
the server hangs: the context ends at once, cancel returns after 4 to 5 s' ] || { echo "changed"; exit 1; }
