#!/usr/bin/env bash
# Redis 7.0.15 (Debian's redis-server 5:7.0.15-1~deb12u10), maxmemory reached, policy noeviction.
#
# A command that may use memory fails in a script with OOM, but only if the script
# has written nothing yet: after a command that frees or uses none, such as PEXPIRE,
# the same command succeeds. So the order of two writes decides whether a script
# works on a full server.
#
# Output seen:
#   ZADD first: OOM command not allowed when used memory > 'maxmemory'.
#   PEXPIRE first: 1
set -euo pipefail
version=5:7.0.15-1~deb12u10
dir=$(mktemp -d)
trap 'kill "$(cat "$dir/pid" 2>/dev/null)" 2>/dev/null || true; rm -rf "$dir"' EXIT
cd "$dir"
apt-get download -qq "redis-server=$version" "redis-tools=$version"
for deb in *.deb; do dpkg-deb -x "$deb" .; done

./usr/bin/redis-server --port 0 --unixsocket "$dir/sock" --save '' --daemonize yes --pidfile "$dir/pid" --dir "$dir" >/dev/null
cli() { ./usr/bin/redis-cli -s "$dir/sock" "$@" 2>&1; }
for _ in $(seq 100); do [ "$(cli ping)" = PONG ] && break; sleep 0.1; done

cli set lease x px 100000 >/dev/null
cli zadd holders 1 a >/dev/null
cli config set maxmemory 1 >/dev/null
first=$(cli eval "return redis.call('ZADD', KEYS[2], 1, 'b')" 2 lease holders)
second=$(cli eval "redis.call('PEXPIRE', KEYS[1], 100000) return redis.call('ZADD', KEYS[2], 1, 'b')" 2 lease holders)
echo "ZADD first: $first"
echo "PEXPIRE first: $second"
case $first in *OOM*) ;; *) echo "changed: ZADD alone succeeds"; exit 1 ;; esac
[ "$second" = 1 ] || { echo "changed: ZADD fails after PEXPIRE"; exit 1; }
