#!/usr/bin/env bash
# PostgreSQL 15.20 (Debian's postgresql-15 15.20-0+deb12u1).
#
# The manual (13.4.2) tells transactions under REPEATABLE READ or SERIALIZABLE to lock before
# their first query, lest their snapshot is older than the lock. With LOCK TABLE that works. An
# advisory lock is taken by a query, whose snapshot is made before it waits: though it is the
# first statement, in a DO block too, what the last holder committed is not seen, and a change
# of the same row fails with 40001. Taken for the session before BEGIN, it works.
#
# Output seen (under REPEATABLE READ, read after waiting for a transaction that wrote 1):
#   LOCK TABLE first: 1, its update: ok
#   pg_advisory_xact_lock first: 0, its update: ERROR 40001
#   pg_advisory_xact_lock in DO first: 0, its update: ERROR 40001
#   pg_advisory_lock before BEGIN: 1, its update: ok
set -euo pipefail
version=15.20-0+deb12u1
dir=$(mktemp -d)
stop() {
	local server
	server=$(head -1 "$dir/data/postmaster.pid" 2>/dev/null) && kill -QUIT "$server" 2>/dev/null || return 0
	for _ in $(seq 100); do kill -0 "$server" 2>/dev/null || return 0; sleep 0.1; done
}
trap 'stop; rm -rf "$dir"' EXIT
cd "$dir"
chmod 755 "$dir"
apt-get download -qq "postgresql-15=$version" "postgresql-client-15=$version" libpq5 libicu72 libldap-2.5-0 libsasl2-2 libxml2 libxslt1.1 liblz4-1
for deb in *.deb; do dpkg-deb -x "$deb" .; done
export LD_LIBRARY_PATH=$dir/usr/lib/x86_64-linux-gnu
bin=$dir/usr/lib/postgresql/15/bin
mkdir -m 777 data sock
as() { "$@"; }
if [ "$(id -u)" -eq 0 ]; then # the server refuses root
	chown nobody data sock
	as() { setpriv --reuid=nobody --clear-groups "$@"; }
fi
as "$bin/initdb" -D data -U admin -A trust >/dev/null
as "$bin/postgres" -D data -k "$dir/sock" -c listen_addresses= >log 2>&1 &
sql() { "$bin/psql" -h "$dir/sock" -U admin -d postgres -XAtq "$@"; }
for _ in $(seq 300); do sql -c 'SELECT 1' >/dev/null 2>&1 && break; sleep 0.1; done
sql -c 'CREATE TABLE t (n int)' -c 'INSERT INTO t VALUES (0)'

# after NAME HELD STATEMENT...: what a session that runs STATEMENTs reads and writes. They wait for
# HELD, the lock of a transaction that writes 1 and ends when somebody waits for it.
after() {
	local name=$1 held=$2 statements=() statement out
	shift 2
	for statement; do statements+=(-c "$statement"); done
	sql -c 'UPDATE t SET n = 0'
	{
		echo "BEGIN; $held; UPDATE t SET n = 1; \\o"
		for _ in $(seq 300); do
			[ "$(sql -c 'SELECT count(*) FROM pg_locks WHERE NOT granted')" = 0 ] || break
			sleep 0.1
		done
		echo 'COMMIT;'
	} | sql >/dev/null &
	local holder=$!
	for _ in $(seq 300); do # until the first has the row
		[ "$(sql -c "SELECT count(*) FROM pg_locks WHERE relation = 't'::regclass AND mode = 'RowExclusiveLock'")" != 0 ] && break
		sleep 0.1
	done
	out=$(sql -v VERBOSITY=sqlstate "${statements[@]}" -c "SELECT 'read', n FROM t" -c 'UPDATE t SET n = n + 1' -c COMMIT 2>&1) || true
	wait "$holder"
	echo "$name: $(sed -n 's/^read|//p' <<<"$out"), its update: $(grep -oE 'ERROR: +[0-9A-Z]+' <<<"$out" | tr -s ': ' ' ' || echo ok)"
}
repeatable='BEGIN ISOLATION LEVEL REPEATABLE READ'
lock='SELECT pg_advisory_xact_lock(1)'
out=$(
	after 'LOCK TABLE first' 'LOCK TABLE t IN EXCLUSIVE MODE' "$repeatable" 'LOCK TABLE t IN EXCLUSIVE MODE'
	after 'pg_advisory_xact_lock first' "$lock" "$repeatable" "$lock"
	after 'pg_advisory_xact_lock in DO first' "$lock" "$repeatable" 'DO $$ BEGIN PERFORM pg_advisory_xact_lock(1); END $$'
	after 'pg_advisory_lock before BEGIN' "$lock" 'SELECT pg_advisory_lock(1)' "$repeatable"
)
echo "$out"
[ "$out" = 'LOCK TABLE first: 1, its update: ok
pg_advisory_xact_lock first: 0, its update: ERROR 40001
pg_advisory_xact_lock in DO first: 0, its update: ERROR 40001
pg_advisory_lock before BEGIN: 1, its update: ok' ] || { echo "changed"; exit 1; }
