package otelguard

import (
	"errors"
	"strings"
	"unicode/utf8"

	"github.com/jobguard/jobguard/internal/panics"
)

// valid makes text UTF-8. Exporters refuse other text together with all that they
// send with it: the spans of a batch, the whole of /metrics.
func valid(text string) string { return strings.ToValidUTF8(text, string(utf8.RuneError)) }

// maxText is how many bytes of a name or an error type are recorded.
const maxText = 255

// short returns what is recorded of a text that becomes a label.
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

// ask returns f's answer, or instead if f panics: f calls code of the program, whose
// panic must not end the recording of a run. The panic value may contain a key.
func ask[T any](f func() T, instead T) (answer T) {
	if panics.Catch(func() { answer = f() }) != nil {
		handle(errPanicked)
		return instead
	}
	return answer
}
