package redisstore

import (
	"crypto/sha1"
	_ "embed"
	"encoding/hex"
)

var (
	//go:embed scripts/argument.lua
	argumentLua string
	//go:embed scripts/token.lua
	tokenLua string
	//go:embed scripts/queue.lua
	queueLua string
	//go:embed scripts/join.lua
	joinLua string
	//go:embed scripts/acquire.lua
	acquireLua string
	//go:embed scripts/acquire_queue.lua
	acquireQueueLua string
	//go:embed scripts/acquire_limit.lua
	acquireLimitLua string
	//go:embed scripts/acquire_limit_held.lua
	acquireLimitHeldLua string
	//go:embed scripts/renew.lua
	renewLua string
	//go:embed scripts/renew_fence.lua
	renewFenceLua string
	//go:embed scripts/renew_limit.lua
	renewLimitLua string
	//go:embed scripts/release.lua
	releaseLua string
	//go:embed scripts/release_handoff.lua
	releaseHandoffLua string
	//go:embed scripts/release_queue.lua
	releaseQueueLua string
	//go:embed scripts/release_limit.lua
	releaseLimitLua string
	//go:embed scripts/release_free.lua
	releaseFreeLua string
	//go:embed scripts/release_one.lua
	releaseOneLua string
	//go:embed scripts/acquire_one.lua
	acquireOneLua string
	//go:embed scripts/mint.lua
	mintLua string
	//go:embed scripts/renew_limit_one.lua
	renewLimitOneLua string
	//go:embed scripts/tick_claim.lua
	tickClaimLua string
	//go:embed scripts/tick_end.lua
	tickEndLua string
	//go:embed scripts/inspect.lua
	inspectLua string
	//go:embed scripts/members.lua
	membersLua string
	//go:embed scripts/owners.lua
	ownersLua string
	//go:embed scripts/replace.lua
	replaceLua string
	//go:embed scripts/revoke.lua
	revokeLua string
	//go:embed scripts/break.lua
	breakLua string
	//go:embed scripts/broken.lua
	brokenLua string
	//go:embed scripts/named.lua
	namedLua string

	// Scripts for several holders begin with the locals that queue.lua uses.
	limitLua = "local lease, queue, owner, now = KEYS[1], KEYS[2], ARGV[1], nil\n" + argumentLua

	// A waiter that finds the key held, which is the usual case, needs no queue.lua: it
	// is run only inside the condition.
	acquireScript = newScript(acquireLua + argumentLua +
		"if type(holder) ~= 'string' then\n" + tokenLua + queueLua + acquireQueueLua + "end\n" +
		"local left = redis.call('PTTL', lease)\n" + joinLua)
	acquireLimitScript = newScript(limitLua + acquireLimitHeldLua +
		"if not holder then\n" + tokenLua + queueLua + acquireLimitLua + "end\n" + joinLua)
	renewScript         = newScript(renewLua)
	renewFenceScript    = newScript(renewFenceLua)
	renewLimitScript    = newScript(limitLua + tokenLua + queueLua + renewLimitLua)
	releaseScript       = newScript(releaseLua + argumentLua + tokenLua + releaseHandoffLua + queueLua + releaseQueueLua)
	releaseLimitScript  = newScript(limitLua + tokenLua + queueLua + releaseLimitLua)
	releaseFreeScript   = newScript(releaseFreeLua)
	releaseOneScript    = newScript(releaseOneLua)
	acquireOneScript    = newScript(acquireOneLua)
	mintScript          = newScript(mintLua)
	renewLimitOneScript = newScript(renewLimitOneLua)
	tickClaimScript     = newScript(tickClaimLua)
	tickEndScript       = newScript(tickEndLua)
	inspectScript       = newReader(inspectLua)
	membersScript       = newReader(membersLua)
	revokeScript        = newScript(ownersLua + namedLua + revokeLua)
	replaceScript       = newScript(ownersLua + replaceLua)
	breakScript         = newScript(limitLua + tokenLua + queueLua + namedLua + breakLua)
	brokenScript        = newScript(ownersLua + brokenLua)
)

// script is a Lua script that is sent by its digest, and in full only to a server
// that does not have it.
type script struct {
	source   string
	arg      any // its digest, as an argument
	byDigest any // the commands that run it, as arguments
	inFull   any
}

func newScript(source string) *script {
	sum := sha1.Sum([]byte(source))
	return &script{source: source, arg: hex.EncodeToString(sum[:]), byDigest: "evalsha", inFull: "eval"}
}

// newReader returns a script that only reads.
func newReader(source string) *script {
	s := newScript(source)
	s.byDigest, s.inFull = "evalsha_ro", "eval_ro"
	return s
}
