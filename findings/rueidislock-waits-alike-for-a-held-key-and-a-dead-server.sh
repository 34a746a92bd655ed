#!/usr/bin/env bash
# rueidislock of rueidis v1.0.79 on Redis 7.0.15 (Debian's redis-server 5:7.0.15-1~deb12u10), Go 1.26.
#
# Locker.WithContext returns the context's error both for a key that another locker holds
# and for a server that is gone: it tries again whatever the error was, and drops it. So
# a caller cannot tell "busy" from "down"; an alert on errors of the lock fires for neither
# or for both. TryWithContext tells them apart, as ErrNotLocked and the error of the dial.
#
# Output seen:
#   held: WithContext: context deadline exceeded; TryWithContext: not locked: true
#   gone: WithContext: context deadline exceeded; TryWithContext: not locked: false
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
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"time"

	"github.com/redis/rueidis"
	"github.com/redis/rueidis/rueidislock"
)

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func locker(socket string) rueidislock.Locker {
	l, err := rueidislock.NewLocker(rueidislock.LockerOption{
		KeyMajority: 1, NoLoopTracking: true,
		ClientOption: rueidis.ClientOption{
			InitAddress: []string{"redis:0"},
			DialCtxFn: func(ctx context.Context, _ string, d *net.Dialer, _ *tls.Config) (net.Conn, error) {
				return d.DialContext(ctx, "unix", socket)
			},
		},
	})
	must(err)
	return l
}

func report(what string, l rueidislock.Locker) {
	wait, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	_, _, waited := l.WithContext(wait, "key")
	try, cancelTry := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancelTry()
	_, _, tried := l.TryWithContext(try, "key")
	fmt.Printf("%s: WithContext: %v; TryWithContext: not locked: %t\n", what, waited, errors.Is(tried, rueidislock.ErrNotLocked))
}

func main() {
	socket := os.Args[1]
	one, two := locker(socket), locker(socket)
	_, release, err := one.WithContext(context.Background(), "key")
	must(err)
	report("held", two)
	release()
	must(exec.Command("kill", os.Args[2]).Run())
	time.Sleep(time.Second)
	report("gone", two)
}
GO
go get github.com/redis/rueidis@v1.0.79 github.com/redis/rueidis/rueidislock@v1.0.79 >/dev/null 2>&1
go mod tidy >/dev/null 2>&1
out=$(go run . "$dir/sock" "$(cat "$dir/pid")")
echo "$out"
[ "$out" = 'held: WithContext: context deadline exceeded; TryWithContext: not locked: true
gone: WithContext: context deadline exceeded; TryWithContext: not locked: false' ] || { echo "changed"; exit 1; }
