package redisstore

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// kind judges what the server is.
func (e *examination) kind(n node, f facts) {
	version := f.info["redis_version"]
	if f.info["role"] == "slave" {
		e.note("role", Broken, n.says("is a replica: it refuses writes, so grants no lease"), "connect to the primary, behind Sentinel with redis.NewFailoverClient")
	}
	for _, other := range []string{"dragonfly_version", "kvrocks_version", "garnet_version", "keydb_version"} {
		if _, is := f.info[other]; is {
			kind, _, _ := strings.Cut(other, "_")
			e.note("kind", Risk, n.says("is "+kind+", neither Redis nor Valkey: no test shows that leases are kept there"), "use Redis 7.0 or newer, or Valkey")
			return
		}
	}
	if major, _, _ := strings.Cut(version, "."); version == "" || len(major) == 1 && major < "7" {
		e.note("version", Broken, n.says("has version "+strconv.Quote(version)+"; the scripts need Redis 7.0"), "upgrade to Redis 7.0 or newer, or Valkey")
	}
}

// memory judges whether leases can be evicted.
func (e *examination) memory(n node, f facts) {
	const fix = "CONFIG SET maxmemory-policy noeviction"
	policy, evicted := f.info["maxmemory_policy"], number(f.info, "evicted_keys")
	evicts := policy != "noeviction"
	switch {
	case evicts && number(f.info, "maxmemory") > 0:
		e.note("maxmemory-policy", Broken, n.says("has "+policy+" and a memory limit: a lease that is evicted is granted to the next while its run goes on"), fix)
	case evicts:
		e.note("maxmemory-policy", Risk, n.says("has "+policy+": leases are evicted once it has a memory limit"), fix)
	}
	if evicted > 0 {
		severity := Risk // it is over
		if evicts {
			severity = Broken
		}
		e.note("evictions", severity, n.says(fmt.Sprintf("has evicted %d keys since it started: leases may have been among them", evicted)), fix+"; a restart, or CONFIG RESETSTAT, resets the count")
	}
}

// persistence judges what a restart forgets.
func (e *examination) persistence(n node, f facts) {
	const fix = "CONFIG SET appendonly yes; CONFIG SET appendfsync always"
	switch {
	case f.info["aof_enabled"] == "1":
		switch fsync := f.config["appendfsync"]; fsync {
		case "everysec":
			e.note("persistence", Risk, n.says("has appendfsync everysec: a crash of the machine forgets the leases of up to the last two seconds, and grants them again"), "CONFIG SET appendfsync always")
		case "no":
			e.note("persistence", Risk, n.says("has appendfsync no: a crash of the machine forgets the leases of the last half minute, and grants them again"), "CONFIG SET appendfsync always")
		}
	case f.config != nil && f.config["save"] != "":
		e.note("persistence", Risk, n.says("has snapshots only: after a restart leases granted since the last one are granted again"), fix)
	case f.config != nil:
		e.note("persistence", Risk, n.says("keeps nothing on disk: after a restart all leases are granted again"), fix)
	}
	if f.info["rdb_last_bgsave_status"] == "err" || f.info["aof_last_write_status"] == "err" {
		e.note("disk", Broken, n.says("cannot write to its disk: with its default settings it refuses writes, so grants no lease"), "make room on the disk or repair its permissions, then BGSAVE")
	}
}

// replication judges whether there is a failover, and whether it keeps leases.
func (e *examination) replication(ctx context.Context, n node, f facts) {
	if f.info["role"] == "slave" {
		return
	}
	replicas := f.replicas()
	inStep := e.lag(n, f, replicas)
	if e.replicas > inStep {
		e.note("replicas", Broken, n.says(fmt.Sprintf("has %d replicas in step, and ReplicaAck waits for %d: no lease is granted", inStep, e.replicas)), "add replicas, or lower ReplicaAck")
	}
	watching := sentinels(ctx, n.client)
	if watching > 0 && watching < 3 {
		e.note("sentinel", Risk, n.says(fmt.Sprintf("is watched by %d Sentinels: with fewer than three one failure ends failovers", watching)), "run three Sentinels on machines that fail independently")
	}
	if (watching > 0 || n.cluster) && len(replicas) == 0 && e.replicas == 0 {
		e.note("replicas", Risk, n.says("has no replica to fail over to: without it no lease is granted or renewed"), "add a replica: REPLICAOF, or CLUSTER REPLICATE")
	}
	e.isolation(n, f, len(replicas))
}

// isolation judges whether a primary stops that is cut off from its replicas.
func (e *examination) isolation(n node, f facts, replicas int) {
	if f.config == nil || replicas == 0 && number(f.config, "min-replicas-to-write") == 0 {
		return
	}
	switch least := number(f.config, "min-replicas-to-write"); {
	case least == 0:
		e.note("min-replicas-to-write", Risk, n.says("goes on granting leases while it is cut off from its replicas, and another primary grants them too"),
			fmt.Sprintf("CONFIG SET min-replicas-to-write 1; CONFIG SET min-replicas-max-lag %d", e.maxLag()))
	case number(f.info, "min_slaves_good_slaves") < least:
		e.note("min-replicas-to-write", Broken, n.says(fmt.Sprintf("has %d good replicas of the %d that it wants for a write: it refuses writes, so grants no lease",
			number(f.info, "min_slaves_good_slaves"), least)), "add replicas, or lower min-replicas-to-write")
	}
	if lag := number(f.config, "min-replicas-max-lag"); lag > e.maxLag() && number(f.config, "min-replicas-to-write") > 0 {
		e.note("min-replicas-max-lag", Risk, n.says(fmt.Sprintf("grants leases for %d s after its replicas are gone, longer than the TTL of %v", lag, e.ttl)),
			fmt.Sprintf("CONFIG SET min-replicas-max-lag %d", e.maxLag()))
	}
}

// maxLag is the TTL in whole seconds, at least 1.
func (e *examination) maxLag() int64 { return max(1, int64(e.ttl/time.Second)) }

// lag notes replicas that are behind, and returns how many are not.
func (e *examination) lag(n node, f facts, replicas []replica) (inStep int) {
	const mostLag, mostBytes = 2, 1 << 20 // replicas acknowledge every second
	at := number(f.info, "master_repl_offset")
	for _, r := range replicas {
		if r.state == "online" && r.lag <= mostLag && at-r.offset <= mostBytes {
			inStep++
			continue
		}
		e.note("replica-lag", Risk, n.says(fmt.Sprintf("has a replica %s that is %s, %d s and %d bytes behind: promoted, it grants again what it has not heard of",
			r.addr, r.state, r.lag, at-r.offset)), "look at the replica's network, disk and load; ReplicaAck waits for replicas")
	}
	return inStep
}

// settings judges what the server does to connections.
func (e *examination) settings(n node, f facts) {
	if seconds := number(f.config, "timeout"); seconds > 0 {
		idle := time.Duration(seconds) * time.Second
		client, ok := n.client.(*redis.Client)
		if !ok || client.Options().ConnMaxIdleTime <= 0 || client.Options().ConnMaxIdleTime >= idle {
			e.note("timeout", Risk, n.says(fmt.Sprintf("closes connections that are idle for %v: a request that is under way then has no answer, and costs a second one", idle)),
				"CONFIG SET timeout 0, or a ConnMaxIdleTime of the client below it")
		}
	}
	// Classes in turn: its name, the hard limit, the soft limit, and its seconds.
	words := strings.Fields(f.config["client-output-buffer-limit"])
	for i := 0; i+3 < len(words); i += 4 {
		hard, _ := strconv.ParseInt(words[i+1], 10, 64)
		soft, _ := strconv.ParseInt(words[i+2], 10, 64)
		if words[i] == "pubsub" && (hard > 0 && hard < 1<<20 || soft > 0 && soft < 1<<18) {
			e.note("pubsub-buffer", Risk, n.says(fmt.Sprintf("cuts subscribers off at %d bytes: wake-ups are lost when many keys are released at once, and waiters poll", max(hard, soft))),
				"CONFIG SET client-output-buffer-limit 'pubsub 33554432 8388608 60'")
		}
	}
}
