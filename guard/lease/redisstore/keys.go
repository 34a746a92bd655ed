package redisstore

import (
	"regexp"
	"strings"
	"sync/atomic"
)

// escapePrefix is put before a user key that looks like a companion. User keys have
// no control characters, so the escaped key is no other user key.
const escapePrefix = "\x1f"

// names are the Redis keys of one user key: lease, queue, holders, fence counter and
// when waiters were heard, in the order of the scripts' KEYS.
type names struct {
	all  [6]string // the last is of break.lua only
	slot int
	key  string // the user's
	arg  any    // the lease, as an argument
}

func (n *names) lease() string   { return n.all[0] }
func (n *names) queue() string   { return n.all[1] }
func (n *names) holders() string { return n.all[2] }

// withMark returns the lease, a mark of that kind beside it, which few scripts use, and
// the holders.
func withMark(prefix, kind, key string) *names {
	n := namesOf(prefix, key)
	return &names{all: [6]string{n.lease(), n.mark(prefix, kind), n.holders()}, slot: n.slot, key: key, arg: n.arg}
}

// mark is the name of a mark of that kind.
func (n *names) mark(prefix, kind string) string {
	return prefix + kind + ":{" + tags()[n.slot] + "}:" + escapeCompanion(n.key)
}

// fenceOnly and holdersOnly are for scripts that have that key alone.
func (n *names) fenceOnly() *names   { return only(n.all[3]) }
func (n *names) holdersOnly() *names { return only(n.all[2]) }

func only(name string) *names { return &names{all: [6]string{name}, arg: name} }

// nameCache keeps names of keys that were used lately: a run needs them twice.
type nameCache [1024]atomic.Pointer[names]

// of returns the names of key with prefix, which is always the same.
func (c *nameCache) of(prefix, key string) *names {
	var h uint32 = 2166136261 // FNV-1a
	for i := range len(key) {
		h = (h ^ uint32(key[i])) * 16777619
	}
	cached := &c[h%uint32(len(c))]
	if n := cached.Load(); n != nil && n.key == key {
		return n
	}
	n := namesOf(prefix, key)
	cached.Store(n)
	return n
}

func namesOf(prefix, userKey string) *names {
	key := escapeCompanion(userKey)
	slot := slotOf(prefix + key)
	tag := tags()[slot]
	// One string, cut into five, saves allocations: a run makes these names twice.
	var b strings.Builder
	b.Grow(5*len(prefix) + 4*len(key) + 4*len(tag) + len("w:{}:h:{}:tokens:{}heard:{}:"))
	var cuts [5]int
	for i, parts := range [...][4]string{
		{prefix, key},
		{prefix, "w:{", tag, "}:"},
		{prefix, "h:{", tag, "}:"},
		{prefix, "tokens:{", tag, "}"},
		{prefix, "heard:{", tag, "}:"},
	} {
		for _, part := range parts {
			b.WriteString(part)
		}
		if i == 1 || i == 2 || i == 4 {
			b.WriteString(key)
		}
		cuts[i] = b.Len()
	}
	all := b.String()
	return &names{
		key:  userKey,
		arg:  all[:cuts[0]],
		all:  [6]string{all[:cuts[0]], all[cuts[0]:cuts[1]], all[cuts[1]:cuts[2]], all[cuts[2]:cuts[3]], all[cuts[3]:]},
		slot: slot,
	}
}

// leaseOnly is namesOf without the companions.
func leaseOnly(prefix, key string) *names { return only(prefix + escapeCompanion(key)) }

func escapeCompanion(key string) string {
	if strings.IndexByte(key, '{') >= 0 && companion.MatchString(key) {
		return escapePrefix + key
	}
	return key
}

// companion matches keys that could be a companion, also of a store whose prefix
// ends in ':' on the same server. q and fence are what earlier versions called w and tokens.
var companion = regexp.MustCompile(`(^|:)(w|q|h|heard|tick|tokens|fence|stop|latest):\{`)
