#!/usr/bin/env bash
# PostgreSQL 15.20 (Debian's postgresql-15 15.20-0+deb12u1).
#
# After ALTER SYSTEM SET synchronous_standby_names and pg_reload_conf(), every session shows
# the new value, yet commits go on without waiting for a standby until the checkpointer has
# read the configuration too: only it tells the others that there are names. Usually that is
# at once; here the checkpointer is stopped meanwhile, as a busy machine may do.
#
# Output seen:
#   shown: nobody; a commit of a new session waits: no
#   the checkpointer goes on; a commit of a new session waits: yes
set -euo pipefail
version=15.20-0+deb12u1
dir=$(mktemp -d)
checkpointer=
stop() {
	[ -z "$checkpointer" ] || kill -CONT "$checkpointer" 2>/dev/null || true
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
sql() { "$bin/psql" -h "$dir/sock" -U admin -d postgres -XAtqc "$1"; }
for _ in $(seq 300); do sql 'SELECT 1' >/dev/null 2>&1 && break; sleep 0.1; done

# waits says whether a commit of a new session waits for a standby. If it does it is cancelled.
waits() {
	sql 'INSERT INTO t VALUES (1)' 2>/dev/null &
	local commit=$!
	for _ in $(seq 30); do
		if [ "$(sql "SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity WHERE wait_event = 'SyncRep'")" != 0 ]; then
			wait "$commit"
			echo yes
			return
		fi
		kill -0 "$commit" 2>/dev/null || break
		sleep 0.1
	done
	wait "$commit"
	echo no
}

sql 'CREATE TABLE t (n int)'
checkpointer=$(sql "SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'")
kill -STOP "$checkpointer"
sql "ALTER SYSTEM SET synchronous_standby_names = 'nobody'"
sql 'SELECT pg_reload_conf()' >/dev/null
for _ in $(seq 100); do [ "$(sql 'SHOW synchronous_standby_names')" = nobody ] && break; sleep 0.1; done
before="shown: $(sql 'SHOW synchronous_standby_names'); a commit of a new session waits: $(waits)"
kill -CONT "$checkpointer"
sleep 1
after="the checkpointer goes on; a commit of a new session waits: $(waits)"
printf '%s\n' "$before" "$after"
[ "$before" = 'shown: nobody; a commit of a new session waits: no' ] &&
	[ "$after" = 'the checkpointer goes on; a commit of a new session waits: yes' ] || { echo changed; exit 1; }
