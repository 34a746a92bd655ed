package redisstore

import (
	"crypto/sha256"
	"encoding/hex"
	"math"
	"strings"
	"testing"
	"time"
)

// The names of companions are on every server in use: a table that changes
// would split each line and each counter in two.
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
		if slotOf("guard:q:{"+tag+"}:any{thing}") != slot || slotOf("guard:fence:{"+tag+"}") != slot {
			t.Fatalf("tag %q of slot %d", tag, slot)
		}
	}
}

func FuzzCompanionsShareTheSlotOfTheLease(f *testing.F) {
	for _, key := range []string{"k", "{k}", "{}k", "a}b{c", "q:{x}:k", "fence:{x}", "{{}}", "q:", "}{"} {
		f.Add("guard:", key)
		f.Add("", key)
		f.Add("{jobs}:", key)
		f.Add("a{b}c{d", key)
	}
	f.Fuzz(func(t *testing.T, prefix, key string) {
		if !validPrefix(prefix) || strings.ContainsFunc(key, isControl) {
			return // nothing is promised for these
		}
		n := namesOf(prefix, key)
		for _, name := range n.all {
			if slotOf(name) != n.slot {
				t.Errorf("%q of key %q is in slot %d, the lease in %d", name, key, slotOf(name), n.slot)
			}
		}
		if leaseOnly(prefix, key).all[0] != n.lease() {
			t.Errorf("two names for the lease of %q", key)
		}
	})
}

func FuzzNoUserKeyNamesACompanion(f *testing.F) {
	f.Add("orders:1", "q:{ab}:orders:1")
	f.Add("orders:1", "fence:{ab}")
	f.Fuzz(func(t *testing.T, one, other string) {
		if strings.ContainsFunc(one+other, isControl) {
			return // nothing is promised for these
		}
		n := namesOf("guard:", one)
		// The attack: the very name of a companion as a user key.
		for _, key := range []string{other, n.queue()[len("guard:"):], n.all[2][len("guard:"):]} {
			if name := leaseOnly("guard:", key).all[0]; name == n.queue() || name == n.all[2] {
				t.Errorf("user key %q names a companion of %q", key, one)
			}
		}
	})
}

func TestOnlyKeysThatLookLikeCompanionsAreMovedAside(t *testing.T) {
	for key, want := range map[string]string{
		"orders:{42}": "orders:{42}", "q:1": "q:1", "fence:": "fence:", "{q:{": "{q:{",
		"q:{1}": "\x1fq:{1}", "fence:{": "\x1ffence:{",
	} {
		if got := leaseOnly("", key).all[0]; got != want {
			t.Errorf("lease of %q is %q, want %q", key, got, want)
		}
	}
}

func TestNotAfterNeverLiesBeyondTheDeadlineOnTheServer(t *testing.T) {
	c := newClock()
	const ahead = 5_000_000 // the server's true lead in µs
	server := func() int64 { return c.now() + ahead }
	for range 1000 {
		sent := c.now()
		time.Sleep(10 * time.Microsecond)
		at := server()
		time.Sleep(10 * time.Microsecond)
		c.learn(0, at, sent, false)
		deadline := time.Now().Add(time.Second)
		left := time.Until(deadline).Microseconds() // read first: then it is no less than at the sum
		there := server() + left + 1
		if got := c.notAfter(0, deadline, true); got > there {
			t.Fatalf("not after is %d µs beyond the deadline", got-there)
		} else if there-got > 100_000 {
			t.Fatalf("not after is %d µs before the deadline", there-got)
		}
	}
}

func TestClockFollowsAServerThatSteppedBack(t *testing.T) {
	c := newClock()
	c.learn(0, c.now()+5_000_000, c.now(), false)
	sent := c.now()
	c.learn(0, c.now()-5_000_000, sent, false)
	if got, now := c.notAfter(0, time.Now(), true), c.now(); got > now-4_900_000 {
		t.Errorf("the old bound was kept: %d µs ahead", got-now)
	}
}

func TestClockKeepsTheBestBound(t *testing.T) {
	c := newClock()
	sent := c.now()
	c.learn(0, c.now()+1_000_000, sent, false)
	c.learn(0, c.now()+900_000, sent-200_000, false) // a slow reply: says less
	if got, now := c.notAfter(0, time.Now(), true), c.now(); got < now+990_000 {
		t.Errorf("a slow reply lowered the bound to %d", got-now)
	}
}

func TestBoundDecaysWithAge(t *testing.T) {
	b := bound{offset: 1000, taken: 0}
	if got := b.at(1_000_000); got != 0 { // 1000 ppm of a second are 1000 µs
		t.Errorf("after a second the bound is %d", got)
	}
}

func TestUnknownClockAndUnboundedContext(t *testing.T) {
	c := newClock()
	if got := c.notAfter(7, time.Now().Add(time.Hour), true); got != 0 {
		t.Errorf("unknown clock: %d", got)
	}
	c.learn(7, 1, c.now(), false)
	if got := c.notAfter(7, time.Time{}, false); got < 1<<52 || float64(got) > math.Pow(2, 53) {
		t.Errorf("no deadline: %d", got)
	}
	if got := c.notAfter(8, time.Now(), true); got != 0 {
		t.Errorf("another slot's clock was taken: %d", got)
	}
}
