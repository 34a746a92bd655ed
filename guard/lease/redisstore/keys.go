package redisstore

import (
	"regexp"
	"strings"
)

// aside stands in front of a user key that looks like a companion. No user key
// contains control characters, so no user key is moved onto another.
const aside = "\x1f"

// names is where one user key is kept: lease, line, holders and fence counter,
// in the order in which the scripts take them.
type names struct {
	all  [4]string
	slot int
}

func (n *names) lease() string { return n.all[0] }
func (n *names) queue() string { return n.all[1] }

func namesOf(prefix, key string) names {
	key = distinct(key)
	lease := prefix + key
	slot := slotOf(lease)
	tag := tags()[slot]
	return names{
		all: [4]string{
			lease,
			prefix + "q:{" + tag + "}:" + key,
			prefix + "h:{" + tag + "}:" + key,
			prefix + "fence:{" + tag + "}",
		},
		slot: slot,
	}
}

// leaseName is namesOf for those who need no more.
func leaseName(prefix, key string) string { return prefix + distinct(key) }

func distinct(key string) string {
	if strings.IndexByte(key, '{') >= 0 && companion.MatchString(key) {
		return aside + key
	}
	return key
}

// companion matches what could be one, also of a store with another prefix that
// ends in ':' on the same server.
var companion = regexp.MustCompile(`(^|:)(q|h|fence):\{`)
