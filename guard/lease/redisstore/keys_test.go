package redisstore

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"testing"
)

// Servers in use have keys with these tags: with another table each queue and each
// counter would exist twice.
func TestTagTableNeverChanges(t *testing.T) {
	sum := sha256.Sum256([]byte(strings.Join(tags()[:], "\n")))
	const pinned = "f1ba8f75612b189b42a495eac90e04ebbd9a56fa9ef88e808e15927c17db2e03"
	if got := hex.EncodeToString(sum[:]); got != pinned {
		t.Errorf("hash of the tag table is %s, not %s", got, pinned)
	}
}

func TestSlotsAreRedisClusterSlots(t *testing.T) {
	for key, want := range map[string]int{
		"123456789":         0x31c3 % slots, // the specification's example
		"":                  0,
		"foo":               12182,
		"{foo}.bar":         12182,
		"a{foo}{bar}":       12182,
		"foo{":              slotOf("{foo{}"),
		"{user1000}.follow": slotOf("user1000"),
	} {
		if got := slotOf(key); got != want {
			t.Errorf("slotOf(%q) = %d, want %d", key, got, want)
		}
	}
	if slotOf("foo{}{bar}") == slotOf("bar") {
		t.Error("an empty tag was skipped instead of ending the search")
	}
}

func TestEveryTagHashesToItsSlot(t *testing.T) {
	for slot, tag := range tags() {
		if slotOf("guard:w:{"+tag+"}:any{thing}") != slot || slotOf("guard:tokens:{"+tag+"}") != slot {
			t.Fatalf("tag %q of slot %d", tag, slot)
		}
	}
}

func FuzzCompanionsShareTheSlotOfTheLease(f *testing.F) {
	for _, key := range []string{"k", "{k}", "{}k", "a}b{c", "q:{x}:k", "tick:{x}:k", "fence:{x}", "{{}}", "q:", "tick:", "}{"} {
		for _, prefix := range []string{"guard:", "", "{jobs}:", "a{b}c{d"} {
			f.Add(prefix, key)
		}
	}
	f.Fuzz(func(t *testing.T, prefix, key string) {
		if !validPrefix(prefix) || strings.ContainsFunc(key, isControl) {
			return // nothing is promised for these
		}
		n := namesOf(prefix, key)
		if leaseOnly(prefix, key).all[0] != n.lease() {
			t.Errorf("two names for the lease of %q", key)
		}
		seen := map[string]bool{n.lease(): true}
		for _, name := range companions(prefix, key) {
			if slotOf(name) != slotOf(n.lease()) || n.slot != slotOf(n.lease()) {
				t.Errorf("%q of key %q is in slot %d, the lease in %d", name, key, slotOf(name), n.slot)
			}
			if seen[name] {
				t.Errorf("two companions of %q are named %q", key, name)
			}
			seen[name] = true
		}
	})
}

func FuzzNoUserKeyNamesACompanion(f *testing.F) {
	f.Add("guard:", "orders:1", "q:{ab}:orders:1")
	f.Add("", "orders:1", "fence:{ab}")
	f.Add("{jobs}:", "tick:{x}:k", "tick:{x}:k")
	f.Fuzz(func(t *testing.T, prefix, one, other string) {
		if !validPrefix(prefix) || strings.ContainsFunc(one+other, isControl) {
			return // nothing is promised for these
		}
		for _, companion := range companions(prefix, one) {
			// The second key is the very name of the companion.
			for _, key := range []string{other, companion[len(prefix):]} {
				if leaseOnly(prefix, key).all[0] == companion {
					t.Errorf("user key %q names a companion of %q", key, one)
				}
			}
		}
	})
}

// companions are the names of a key's queue, holders, fence counter and tick.
func companions(prefix, key string) []string {
	n := namesOf(prefix, key)
	return append(n.all[1:5], tickName(prefix, key).all[0])
}

func TestOnlyKeysThatLookLikeCompanionsAreEscaped(t *testing.T) {
	for key, want := range map[string]string{
		"orders:{42}": "orders:{42}", "q:1": "q:1", "fence:": "fence:", "{q:{": "{q:{",
		"q:{1}": "\x1fq:{1}", "fence:{": "\x1ffence:{",
	} {
		if got := leaseOnly("", key).all[0]; got != want {
			t.Errorf("lease of %q is %q, want %q", key, got, want)
		}
	}
}
