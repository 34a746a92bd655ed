package lease

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// An owner id is one opaque string, compared whole:
//
//	<process id>:<sequence>|<owner name>|<metadata>
//
// It is the value of the lease key and part of the entry in the queue, so one reply
// names the holder to a refused owner. Values of other programs have other forms; the
// functions below then find no part.
//
// The value of a key that is kept closed ([ReleaseRequest.KeepClosed]) is a closed
// marker, in the form of an owner id without a process:
//
//	closed|<owner name>|<metadata>|<process id>:<sequence>

const closedPrefix = "closed|"

// ClosedMarker returns the value that keeps a key closed after owner's release.
// Each owner has a marker of its own.
func ClosedMarker(owner string) string {
	id, rest, ok := strings.Cut(owner, "|")
	if !ok {
		return closedPrefix + owner
	}
	return closedPrefix + rest + "|" + id
}

// KeptClosed reports whether value is a closed marker: the key has no owner, but is
// not free yet.
func KeptClosed(value string) bool { return strings.HasPrefix(value, closedPrefix) }

// OwnerID joins the parts of an owner id. sequence tells those of a process apart.
func OwnerID(process string, sequence uint64, name, metadata string) string {
	b := make([]byte, 0, 128)
	b = append(append(b, process...), ':')
	b = append(strconv.AppendUint(b, sequence, 36), '|')
	b = append(append(b, name...), '|')
	return string(append(b, metadata...))
}

// OwnerProcess returns the process id in an owner id, or "".
func OwnerProcess(owner string) string {
	id, _, ok := strings.Cut(owner, "|")
	if !ok {
		return ""
	}
	process, _, ok := strings.Cut(id, ":")
	if !ok {
		return ""
	}
	return process
}

// OwnerName returns the name in an owner id, host:pid unless configured
// otherwise. A value of another form is returned whole. What other programs wrote
// may be any bytes: see [printable].
func OwnerName(owner string) string {
	_, rest, ok := strings.Cut(owner, "|")
	if !ok {
		return printable(owner)
	}
	name, _, ok := strings.Cut(rest, "|")
	if !ok {
		return printable(owner)
	}
	return printable(name)
}

// Metadata returns the text that the owner's observer added to the id, or "".
func Metadata(owner string) string {
	_, rest, ok := strings.Cut(owner, "|")
	if !ok {
		return ""
	}
	_, metadata, _ := strings.Cut(rest, "|")
	metadata, _, _ = strings.Cut(metadata, "|") // a closed marker goes on
	return printable(metadata)
}

// printable returns s as it can be shown, logged and sent: valid UTF-8 without
// control characters, of at most maxPrintable bytes. Anything else is quoted in
// the manner of Go, and cut.
func printable(s string) string {
	cut := ""
	if len(s) > maxPrintable {
		s, cut = s[:maxPrintable], "…"
	}
	if utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl) {
		return s + cut
	}
	return strconv.Quote(s) + cut
}

const maxPrintable = 255
