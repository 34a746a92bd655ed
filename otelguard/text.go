package otelguard

import (
	"errors"
	"strings"
	"unicode/utf8"
)

// Text that is not UTF-8 would be refused by exporters, and what was to go out with
// it too: all spans of a batch, the whole of /metrics.
func valid(text string) string { return strings.ToValidUTF8(text, string(utf8.RuneError)) }

// maxText is how many bytes of a name or an error type are told.
const maxText = 255

// short returns what is told of a text that becomes a label.
func short(text string) string {
	text = valid(text)
	if len(text) <= maxText {
		return text
	}
	end := maxText
	for !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end]
}

var errPanicked = errors.New("otelguard: a method of an error, or WithKeyAttribute's function, panicked")

// ask returns f's answer, or instead if f panics: it calls code of the program's,
// which must not cost the rest that is told of a run. What it panicked with may
// name a key.
func ask[T any](f func() T, instead T) (answer T) {
	defer func() {
		if recover() != nil {
			handle(errPanicked)
			answer = instead
		}
	}()
	return f()
}
