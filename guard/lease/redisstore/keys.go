package redisstore

import (
	"regexp"
	"strings"
)

// escapePrefix is put before a user key that looks like a companion. User keys have
// no control characters, so the escaped key is no other user key.
const escapePrefix = "\x1f"

// names are the Redis keys of one user key: lease, queue, holders, fence counter and
// when waiters were heard, in the order of the scripts' KEYS.
type names struct {
	all  [5]string
	slot int
}

func (n *names) lease() string   { return n.all[0] }
func (n *names) queue() string   { return n.all[1] }
func (n *names) holders() string { return n.all[2] }

// fenceOnly and holdersOnly are for scripts that have that key alone.
func (n *names) fenceOnly() names   { return names{all: [5]string{n.all[3]}} }
func (n *names) holdersOnly() names { return names{all: [5]string{n.all[2]}} }

func namesOf(prefix, key string) names {
	key = escapeCompanion(key)
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
	return names{
		all:  [5]string{all[:cuts[0]], all[cuts[0]:cuts[1]], all[cuts[1]:cuts[2]], all[cuts[2]:cuts[3]], all[cuts[3]:]},
		slot: slot,
	}
}

// leaseOnly is namesOf without the companions.
func leaseOnly(prefix, key string) names { return names{all: [5]string{prefix + escapeCompanion(key)}} }

func escapeCompanion(key string) string {
	if strings.IndexByte(key, '{') >= 0 && companion.MatchString(key) {
		return escapePrefix + key
	}
	return key
}

// companion matches keys that could be a companion, also of a store whose prefix
// ends in ':' on the same server. q and fence are what earlier versions called w and tokens.
var companion = regexp.MustCompile(`(^|:)(w|q|h|heard|tick|tokens|fence):\{`)
