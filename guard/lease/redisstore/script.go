package redisstore

import (
	"crypto/sha1"
	_ "embed"
	"encoding/hex"
)

var (
	//go:embed scripts/line.lua
	lineLua string
	//go:embed scripts/closed.lua
	closedLua string
	//go:embed scripts/acquire.lua
	acquireLua string
	//go:embed scripts/renew.lua
	renewLua string
	//go:embed scripts/release.lua
	releaseLua string
	//go:embed scripts/release_one.lua
	releaseOneLua string

	acquireScript    = newScript(lineLua + acquireLua)
	renewScript      = newScript(renewLua)
	releaseScript    = newScript(lineLua + closedLua + releaseLua)
	releaseOneScript = newScript(closedLua + releaseOneLua)
)

// script is a Lua script that is sent by its digest, and whole only to a server
// that does not know it.
type script struct {
	source string
	sha    string
}

func newScript(source string) *script {
	sum := sha1.Sum([]byte(source))
	return &script{source: source, sha: hex.EncodeToString(sum[:])}
}
