package redisstore

import (
	"regexp"
	"strings"
)

// aside stands in front of a user key that looks like a companion. No user key
// contains control characters, so no user key is moved onto another.
const escapePrefix = "\x1f"

// names is where one user key is kept: lease, line, holders and fence counter,
// in the order in which the scripts take them.
type names struct {
	all  [4]string
	slot int
}

func (n *names) lease() string { return n.all[0] }
func (n *names) queue() string { return n.all[1] }

func namesOf(prefix, key string) names {
	key = escapeCompanion(key)
	slot := slotOf(prefix + key)
	tag := tags()[slot]
	// One text, cut into four: an uncontended run makes these names twice.
	var b strings.Builder
	b.Grow(4*len(prefix) + 3*len(key) + 3*len(tag) + len("q:{}:h:{}:fence:{}"))
	var cuts [4]int
	for i, parts := range [...][4]string{
		{prefix, key},
		{prefix, "q:{", tag, "}:"},
		{prefix, "h:{", tag, "}:"},
		{prefix, "fence:{", tag, "}"},
	} {
		for _, part := range parts {
			b.WriteString(part)
		}
		if i == 1 || i == 2 {
			b.WriteString(key)
		}
		cuts[i] = b.Len()
	}
	all := b.String()
	return names{
		all:  [4]string{all[:cuts[0]], all[cuts[0]:cuts[1]], all[cuts[1]:cuts[2]], all[cuts[2]:]},
		slot: slot,
	}
}

// leaseOnly is namesOf for those who need no more.
func leaseOnly(prefix, key string) names { return names{all: [4]string{prefix + escapeCompanion(key)}} }

func escapeCompanion(key string) string {
	if strings.IndexByte(key, '{') >= 0 && companion.MatchString(key) {
		return escapePrefix + key
	}
	return key
}

// companion matches what could be one, also of a store with another prefix that
// ends in ':' on the same server.
var companion = regexp.MustCompile(`(^|:)(q|h|tick|fence):\{`)
