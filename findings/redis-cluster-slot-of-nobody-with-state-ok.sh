#!/usr/bin/env bash
# Redis 7.0.15 (Debian's redis-server 5:7.0.15-1~deb12u10), a Cluster of three masters.
# Seen with Valkey 8.1.1 too.
#
# Two slots move at the same time, each with CLUSTER SETSLOT in the documented order: IMPORTING,
# MIGRATING, then NODE at the target, the source and the third. A target whose epoch is
# the greatest that it knows of takes a slot without a new one. If the slot's source has just got a
# greater epoch for the other slot, and the target has not heard of it yet (here a script
# keeps it busy for 0.3 s), the source's next packet takes the slot back from the target,
# and the last SETSLOT takes it from the source. From then on each of the two sends clients to
# the other. It does not heal, and CLUSTER INFO of all nodes says that all is well;
# redis-cli --cluster check finds it.
#
# Output seen:
#   after 5 s: cluster_state:ok cluster_slots_ok:16384 at all nodes
#   source: MOVED to the target, target: MOVED to the source
#   check: [ERR] Not all 16384 slots are covered by nodes.
set -euo pipefail
version=5:7.0.15-1~deb12u10
dir=$(mktemp -d)
trap 'kill $(cat "$dir"/*/pid 2>/dev/null) 2>/dev/null || true; sleep 0.2; rm -rf "$dir"' EXIT
cd "$dir"
apt-get download -qq "redis-server=$version" "redis-tools=$version"
for deb in *.deb; do dpkg-deb -x "$deb" .; done

base=$((20000 + RANDOM % 9000))
source=$base third=$((base + 1)) target=$((base + 2))
cli() { ./usr/bin/redis-cli -p "$@" 2>&1; }
until_is() { # until_is WANTED COMMAND...
	local wanted=$1
	shift
	for _ in $(seq 150); do
		[[ $("$@") == *"$wanted"* ]] && return
		sleep 0.1
	done
	echo "never $wanted: $*"
	exit 1
}

epoch=0
for port in "$source" "$third" "$target"; do
	mkdir "$port"
	./usr/bin/redis-server --port "$port" --bind 127.0.0.1 --save '' --daemonize yes --cluster-enabled yes \
		--pidfile "$dir/$port/pid" --dir "$dir/$port" >/dev/null
	until_is PONG cli "$port" ping
	epoch=$((epoch + 1))
	cli "$port" cluster set-config-epoch "$epoch" >/dev/null
done
cli "$source" cluster addslotsrange 0 5000 >/dev/null
cli "$third" cluster addslotsrange 5001 10000 >/dev/null
cli "$target" cluster addslotsrange 10001 16383 >/dev/null
cli "$third" cluster meet 127.0.0.1 "$source" >/dev/null
cli "$target" cluster meet 127.0.0.1 "$source" >/dev/null
for port in "$source" "$third" "$target"; do
	until_is cluster_state:ok cli "$port" cluster info
	until_is cluster_known_nodes:3 cli "$port" cluster info
	until_is cluster_current_epoch:3 cli "$port" cluster info
done
sleep 1
id() { cli "$1" cluster myid; }
setslot() { # setslot PORT SLOT WORD PORT
	local said
	said=$(cli "$1" cluster setslot "$2" "$3" "$(id "$4")")
	[ "$said" = OK ] || { echo "setslot $*: $said"; exit 1; }
}

begin() { # begin SLOT FROM TO
	setslot "$3" "$1" importing "$2"
	setslot "$2" "$1" migrating "$3"
}
begin 100 "$source" "$target"
begin 6000 "$third" "$source"

busy="local t = redis.call('TIME') repeat local n = redis.call('TIME') until (n[1] - t[1]) * 1e6 + n[2] - t[2] > 3e5"
of_target=$(id "$target")
exec 3<>"/dev/tcp/127.0.0.1/$target"
printf 'EVAL "%s" 0\r\nCLUSTER SETSLOT 100 NODE %s\r\n' "$busy" "$of_target" >&3 # one write
sleep 0.1
setslot "$source" 6000 node "$source"
setslot "$third" 6000 node "$source"
read -r _ <&3 # the script's nil
read -r said <&3
[[ $said == +OK* ]] || { echo "target: $said"; exit 1; }
setslot "$source" 100 node "$target"
setslot "$third" 100 node "$target"

sleep 5
for port in "$source" "$third" "$target"; do
	info=$(cli "$port" cluster info)
	[[ $info == *cluster_state:ok* && $info == *cluster_slots_ok:16384* ]] || { echo "changed: $info"; exit 1; }
done
echo "after 5 s: cluster_state:ok cluster_slots_ok:16384 at all nodes"

key=k2136 # of slot 100
[[ $(cli "$source" get "$key") == "MOVED 100 127.0.0.1:$target" ]] || { echo "changed: source says $(cli "$source" get "$key")"; exit 1; }
[[ $(cli "$target" get "$key") == "MOVED 100 127.0.0.1:$source" ]] || { echo "changed: target says $(cli "$target" get "$key")"; exit 1; }
echo "source: MOVED to the target, target: MOVED to the source"
check=$(cli "$source" --cluster check "127.0.0.1:$source" | grep -o '\[ERR\] Not all.*nodes\.' || true)
echo "check: $check"
[[ $check == *"Not all 16384 slots are covered by nodes."* ]] || { echo "changed: the check finds nothing"; exit 1; }
