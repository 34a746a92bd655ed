package redisstore

import (
	"strings"
	"testing"
)

func FuzzTicksShareTheSlotOfTheLeaseAndNoUserKeyNamesThem(f *testing.F) {
	for _, key := range []string{"k", "{k}", "{}k", "a}b{c", "tick:{x}:k", "q:{x}:k", "tick:", "}{"} {
		f.Add("guard:", key)
		f.Add("", key)
		f.Add("{jobs}:", key)
	}
	f.Fuzz(func(t *testing.T, prefix, key string) {
		if !validPrefix(prefix) || strings.ContainsFunc(key, isControl) {
			return // nothing is promised for these
		}
		name, lease := tickName(prefix, key).all[0], leaseOnly(prefix, key).all[0]
		if slotOf(name) != slotOf(lease) {
			t.Errorf("%q of key %q is in slot %d, the lease in %d", name, key, slotOf(name), slotOf(lease))
		}
		// The attack: the very name of the tick as a user key.
		if attack := name[len(prefix):]; leaseOnly(prefix, attack).all[0] == name {
			t.Errorf("user key %q names the tick of %q", attack, key)
		}
		for _, other := range namesOf(prefix, key).all {
			if other == name {
				t.Errorf("the tick of %q has the name of another companion", key)
			}
		}
	})
}
