package redisstore

import (
	"crypto/sha1"
	_ "embed"
	"encoding/hex"
)

var (
	//go:embed scripts/line.lua
	lineLua string
	//go:embed scripts/acquire.lua
	acquireLua string
	//go:embed scripts/acquire_line.lua
	acquireLineLua string
	//go:embed scripts/acquire_room.lua
	acquireRoomLua string
	//go:embed scripts/renew.lua
	renewLua string
	//go:embed scripts/renew_room.lua
	renewRoomLua string
	//go:embed scripts/release.lua
	releaseLua string
	//go:embed scripts/release_line.lua
	releaseLineLua string
	//go:embed scripts/release_room.lua
	releaseRoomLua string
	//go:embed scripts/release_one.lua
	releaseOneLua string
	//go:embed scripts/tick_claim.lua
	tickClaimLua string
	//go:embed scripts/tick_end.lua
	tickEndLua string

	// Scripts for several holders name what line.lua uses by themselves.
	roomLua = "local lease, queue, owner, now = KEYS[1], KEYS[2], ARGV[1], nil\n" + lineLua

	acquireScript     = newScript(acquireLua + lineLua + acquireLineLua)
	acquireRoomScript = newScript(roomLua + acquireRoomLua)
	renewScript       = newScript(renewLua)
	renewRoomScript   = newScript(roomLua + renewRoomLua)
	releaseScript     = newScript(releaseLua + lineLua + releaseLineLua)
	releaseRoomScript = newScript(roomLua + releaseRoomLua)
	releaseOneScript  = newScript(releaseOneLua)
	tickClaimScript   = newScript(tickClaimLua)
	tickEndScript     = newScript(tickEndLua)
)

// script is a Lua script that is sent by its digest, and whole only to a server
// that does not know it.
type script struct {
	source string
	arg    any // its digest, as an argument
}

func newScript(source string) *script {
	sum := sha1.Sum([]byte(source))
	return &script{source: source, arg: hex.EncodeToString(sum[:])}
}
