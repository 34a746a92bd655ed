#!/usr/bin/env bash
# MariaDB 10.11.19 (Debian's mariadb-server-core 1:10.11.19-0+deb12u1).
#
# With innodb_snapshot_isolation=ON, the default from MariaDB 11.6.2, a transaction under
# SERIALIZABLE whose first statement is an upsert that has waited for another transaction's
# upsert of the same row fails with error 1020, though it has read nothing before. Under
# REPEATABLE READ the same transaction goes on. So a lock taken by the first statement does
# not spare a program under SERIALIZABLE from beginning its transaction again.
#
# Output seen:
#   REPEATABLE READ: 2
#   SERIALIZABLE: ERROR 1020
set -euo pipefail
version=1:10.11.19-0+deb12u1
dir=$(mktemp -d)
trap 'kill "$(cat "$dir/pid" 2>/dev/null)" 2>/dev/null && sleep 2; rm -rf "$dir"' EXIT
cd "$dir"
chmod 755 "$dir"
apt-get download -qq "mariadb-server-core=$version" "mariadb-client-core=$version" libaio1 liburing2 libnuma1 libmariadb3 libedit2 libncurses6
for deb in *.deb; do dpkg-deb -x "$deb" .; done
export LD_LIBRARY_PATH=$dir/usr/lib/x86_64-linux-gnu:$dir/lib/x86_64-linux-gnu
as=()
[ "$(id -u)" -ne 0 ] || as=(--user=root)
./usr/bin/mariadb-install-db --no-defaults "${as[@]}" --basedir="$dir/usr" --datadir="$dir/data" --auth-root-authentication-method=normal >/dev/null 2>&1
./usr/sbin/mariadbd --no-defaults "${as[@]}" --basedir="$dir/usr" --datadir="$dir/data" --skip-networking --socket="$dir/sock" --pid-file="$dir/pid" >log 2>&1 &
sql() { ./usr/bin/mariadb --no-defaults --user=root --socket="$dir/sock" --skip-column-names --batch "$@"; }
for _ in $(seq 300); do sql -e 'SELECT 1' >/dev/null 2>&1 && break; sleep 0.1; done

# second LEVEL: what the second of two transactions says that raise the same row at once.
second() {
	sql -e 'CREATE DATABASE IF NOT EXISTS d; CREATE OR REPLACE TABLE d.t (k VARBINARY(9) PRIMARY KEY, n BIGINT) ENGINE=InnoDB; INSERT INTO d.t VALUES (0x61, 0)'
	local raise="INSERT INTO d.t VALUES (0x61, 0) ON DUPLICATE KEY UPDATE n = n + 1"
	local begin="SET SESSION innodb_snapshot_isolation = ON; SET SESSION TRANSACTION ISOLATION LEVEL $1; START TRANSACTION"
	sql -e "$begin; $raise; DO SLEEP(4); COMMIT" &
	local first=$!
	for _ in $(seq 100); do # until the first has the row
		[ "$(sql -e "SELECT COUNT(*) FROM information_schema.processlist WHERE info LIKE 'DO SLEEP%'")" = 1 ] && break
		sleep 0.1
	done
	sql -e "$begin; $raise; SELECT n FROM d.t; COMMIT" 2>&1 | grep -oE '^(ERROR )?[0-9]+'
	wait "$first"
}
out=$(for level in 'REPEATABLE READ' SERIALIZABLE; do echo "$level: $(second "$level")"; done)
echo "$out"
[ "$out" = 'REPEATABLE READ: 2
SERIALIZABLE: ERROR 1020' ] || { echo "changed"; exit 1; }
