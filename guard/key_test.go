package guard_test

import (
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
)

func TestKeyJoinsWithoutCollisions(t *testing.T) {
	for _, c := range []struct{ a, b []string }{
		{[]string{"a:", "b"}, []string{"a", ":b"}},
		{[]string{"a", "b"}, []string{"a:b"}},
		{[]string{"a%3Ab"}, []string{"a:b"}},
		{[]string{"a\x00"}, []string{"a%00"}},
		{[]string{"\xff"}, []string{"\ufffd"}},
		{[]string{strings.Repeat("x", 300)}, []string{strings.Repeat("x", 301)}},
		{[]string{guard.Key(strings.Repeat("x", 300))}, []string{strings.Repeat("x", 300)}},
	} {
		if a, b := guard.Key(c.a...), guard.Key(c.b...); a == b {
			t.Errorf("Key(%q) = Key(%q) = %q", c.a, c.b, a)
		}
	}
}

func TestKeyStaysReadable(t *testing.T) {
	if got := guard.Key("orders", "42", "Zürich"); got != "orders:42:Zürich" {
		t.Errorf("Key() = %q", got)
	}
	long := guard.Key("orders", strings.Repeat("9", 1000))
	if len(long) != 192 || !strings.HasPrefix(long, "orders:999") {
		t.Errorf("%d bytes: %q", len(long), long)
	}
}

func TestKeyOfAnEmptyPartIsEmpty(t *testing.T) {
	for _, parts := range [][]string{nil, {""}, {"a", ""}, {"", "a"}} {
		if got := guard.Key(parts...); got != "" {
			t.Errorf("Key(%q) = %q, want none", parts, got)
		}
	}
}

// FuzzKey looks for two lists of parts with one key, and for keys that Do would
// refuse or that carry a cluster hash tag.
func FuzzKey(f *testing.F) {
	f.Add("a:", "b", "a", ":b")
	f.Add("%", "3A", "%3", "A")
	f.Add(strings.Repeat("é", 63)+"x", "y", strings.Repeat("é", 64), "y")
	f.Add("~", "{", "}", "\xff")
	g := newGuard(f, guardtest.NewStore())
	f.Fuzz(func(t *testing.T, a, b, c, d string) {
		lists := [][]string{{a}, {b}, {a, b}, {c, d}, {a + ":" + b}, {a, b, c}, {a + b, c}, {a, b + c}}
		for i, p := range lists {
			key := guard.Key(p...)
			if slices.Contains(p, "") {
				if key != "" {
					t.Fatalf("Key(%q) = %q with an empty part", p, key)
				}
				continue
			}
			if strings.ContainsFunc(key, unicode.IsControl) || strings.ContainsAny(key, "{}") || len(key) > 192 {
				t.Fatalf("Key(%q) = %q", p, key)
			}
			if err := g.Do(t.Context(), key, nothing); err != nil {
				t.Fatalf("Do(Key(%q)) = %v", p, err)
			}
			for _, q := range lists[:i] {
				if !slices.Equal(p, q) && !slices.Contains(q, "") && guard.Key(q...) == key {
					t.Fatalf("Key(%q) = Key(%q) = %q", p, q, key)
				}
			}
		}
	})
}

func TestKeysAreTextWithoutAHashTag(t *testing.T) {
	for _, part := range []string{"{x}", "a{", "}b", "\xff", "a\xc3", strings.Repeat("é", 300), "x" + strings.Repeat("é", 300), "\t", "\u0085"} {
		key := guard.Key("orders", part)
		if !utf8.ValidString(key) || strings.ContainsAny(key, "{}\t\u0085") {
			t.Errorf("Key(%q) = %q", part, key)
		}
	}
}
