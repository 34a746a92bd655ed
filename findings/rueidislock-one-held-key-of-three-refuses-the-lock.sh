#!/usr/bin/env bash
# rueidislock of rueidis v1.0.79 on Redis 7.0.15 (Debian's redis-server 5:7.0.15-1~deb12u10), Go 1.26.
#
# With KeyMajority 2, the default, a lock is three keys, of which two make it valid by the
# documentation of LockerOption. But the first or the second key alone, if another holds it, refuses
# the lock, although a majority is free; the third alone does not. By its source the keys are asked
# for one after the other, and after one that is held the next are not asked for.
#
# Output seen:
#   key 0 of 3 is held: not locked: true
#   key 1 of 3 is held: not locked: true
#   key 2 of 3 is held: not locked: false
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
	"time"

	"github.com/redis/rueidis"
	"github.com/redis/rueidis/rueidislock"
)

func main() {
	ctx := context.Background()
	l, err := rueidislock.NewLocker(rueidislock.LockerOption{
		ClientOption: rueidis.ClientOption{
			InitAddress: []string{"redis:0"},
			DialCtxFn: func(ctx context.Context, _ string, d *net.Dialer, _ *tls.Config) (net.Conn, error) {
				return d.DialContext(ctx, "unix", os.Args[1])
			},
		},
	})
	if err != nil {
		panic(err)
	}
	defer l.Close()
	c := l.Client()
	for i := range 3 {
		name := fmt.Sprintf("job%d", i)
		held := fmt.Sprintf("rueidislock:%d:%s", i, name)
		if err := c.Do(ctx, c.B().Set().Key(held).Value("of another").Px(time.Minute).Build()).Error(); err != nil {
			panic(err)
		}
		_, release, err := l.TryWithContext(ctx, name)
		fmt.Printf("key %d of 3 is held: not locked: %t\n", i, errors.Is(err, rueidislock.ErrNotLocked))
		if err == nil {
			release()
		}
	}
}
GO
go get github.com/redis/rueidis@v1.0.79 github.com/redis/rueidis/rueidislock@v1.0.79 >/dev/null 2>&1
go mod tidy >/dev/null 2>&1
out=$(go run . "$dir/sock")
echo "$out"
[ "$out" = 'key 0 of 3 is held: not locked: true
key 1 of 3 is held: not locked: true
key 2 of 3 is held: not locked: false' ] || { echo "changed"; exit 1; }
