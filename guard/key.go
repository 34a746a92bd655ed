package guard

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	// Key's results are either at most maxPlain bytes long, or exactly
	// maxPlain+1: cut to keyHead bytes, a '~' and a SHA-256 in hex. As the
	// lengths differ, no short key can pass for a shortened one.
	keyHead  = 127
	maxPlain = keyHead + 1 + 2*sha256.Size - 1
)

// Key joins parts into one key, such that different parts never make the same
// key: parts are separated by ':', and a ':', '%', brace or control character
// inside a part is percent-encoded. A result of more than 191 bytes is replaced
// by its first 127 bytes, '~' and its SHA-256 in hex.
//
// Key returns "", which every call refuses with ErrInvalidKey, if there is no
// part or one of them is empty: an id that was forgotten must not make
// all callers share one lock.
func Key(parts ...string) string {
	if len(parts) == 0 {
		return ""
	}
	var b strings.Builder
	for i, part := range parts {
		if part == "" {
			return ""
		}
		if i > 0 {
			b.WriteByte(':')
		}
		escape(&b, part)
	}
	key := b.String()
	if len(key) <= maxPlain {
		return key
	}
	sum := sha256.Sum256([]byte(key))
	return trimToValid(key[:keyHead]) + "~" + hex.EncodeToString(sum[:])
}

// escape writes part with every byte encoded that could be taken for structure,
// inject a cluster hash tag, or be refused in a key.
func escape(b *strings.Builder, part string) {
	for i := 0; i < len(part); {
		r, n := utf8.DecodeRuneInString(part[i:])
		if r == utf8.RuneError && n == 1 || unicode.IsControl(r) || strings.ContainsRune(":%{}", r) {
			for _, c := range []byte(part[i : i+n]) {
				fmt.Fprintf(b, "%%%02X", c)
			}
		} else {
			b.WriteString(part[i : i+n])
		}
		i += n
	}
}

// trimToValid replaces the bytes of a rune that a cut left incomplete, keeping
// the length.
func trimToValid(s string) string {
	for i := len(s) - 1; i >= 0 && i > len(s)-utf8.UTFMax; i-- {
		if utf8.RuneStart(s[i]) {
			if !utf8.FullRuneInString(s[i:]) {
				return s[:i] + strings.Repeat("_", len(s)-i)
			}
			break
		}
	}
	return s
}
