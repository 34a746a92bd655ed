package guard_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/jobguard/jobguard/guard"
)

func TestKeysAreTextWithoutAHashTag(t *testing.T) {
	for _, part := range []string{"{x}", "a{", "}b", "\xff", "a\xc3", strings.Repeat("é", 300), "x" + strings.Repeat("é", 300), "\t", "\u0085"} {
		key := guard.Key("orders", part)
		if !utf8.ValidString(key) || strings.ContainsAny(key, "{}\t\u0085") {
			t.Errorf("Key(%q) = %q", part, key)
		}
	}
}
