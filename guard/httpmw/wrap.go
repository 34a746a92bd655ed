package httpmw

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/felixge/httpsnoop"
)

// wrap returns w behind the gate, with exactly the interfaces that w has; see through
// for the exception. WriteString calls write.
func (r *response) wrap(w http.ResponseWriter) http.ResponseWriter {
	var gated http.ResponseWriter
	gated = httpsnoop.Wrap(w, httpsnoop.Hooks{
		WriteHeader: func(next httpsnoop.WriteHeaderFunc) httpsnoop.WriteHeaderFunc {
			return func(status int) { r.writeHeader(next, status) }
		},
		Write: func(next httpsnoop.WriteFunc) httpsnoop.WriteFunc {
			return func(p []byte) (int, error) { return r.write(next, p) }
		},
		ReadFrom: func(next httpsnoop.ReadFromFunc) httpsnoop.ReadFromFunc {
			return func(src io.Reader) (int64, error) { return r.readFrom(gated, next, src) }
		},
		Flush: func(next httpsnoop.FlushFunc) httpsnoop.FlushFunc {
			return func() { r.flush(next) }
		},
		FlushError: func(next httpsnoop.FlushErrorFunc) httpsnoop.FlushErrorFunc {
			return func() error { return r.flushError(next) }
		},
		Hijack: func(next httpsnoop.HijackFunc) httpsnoop.HijackFunc {
			return func() (net.Conn, *bufio.ReadWriter, error) { return r.hijack(next) }
		},
		SetWriteDeadline: func(next httpsnoop.SetWriteDeadlineFunc) httpsnoop.SetWriteDeadlineFunc {
			return func(t time.Time) error { return r.setWriteDeadline(next, t) }
		},
	})
	if outer, ok := w.(unwrapper); ok && (hides(w, flushes) || hides(w, hijacks)) {
		return through(gated, r.wrap(outer.Unwrap()))
	}
	return gated
}

type (
	unwrapper    interface{ Unwrap() http.ResponseWriter }
	flushErrorer interface{ FlushError() error }
)

// through is for a wrapper without Flush or Hijack whose Unwrap leads to them, where
// an http.ResponseController would find them past the gate. Of gated only Flush and
// Hijack remain, and Unwrap leads to below. See docs/design/httpmw-gate.md.
func through(gated, below http.ResponseWriter) http.ResponseWriter {
	t := unwrapping{gated, below}
	f, flushes := gated.(http.Flusher)
	e, flushErrs := gated.(flushErrorer)
	h, hijacks := gated.(http.Hijacker)
	switch { // never both Flush and Hijack
	case hijacks:
		return struct {
			unwrapping
			http.Hijacker
		}{t, h}
	case flushes && flushErrs:
		return struct {
			unwrapping
			http.Flusher
			flushErrorer
		}{t, f, e}
	case flushes:
		return struct {
			unwrapping
			http.Flusher
		}{t, f}
	case flushErrs:
		return struct {
			unwrapping
			flushErrorer
		}{t, e}
	}
	return t
}

type unwrapping struct {
	http.ResponseWriter
	below http.ResponseWriter
}

func (u unwrapping) Unwrap() http.ResponseWriter { return u.below }

// hides reports whether has is false for w and true for a writer below it.
func hides(w http.ResponseWriter, has func(http.ResponseWriter) bool) bool {
	if has(w) {
		return false
	}
	for {
		outer, ok := w.(unwrapper)
		if !ok {
			return false
		}
		if w = outer.Unwrap(); has(w) {
			return true
		}
	}
}

func flushes(w http.ResponseWriter) bool {
	switch w.(type) {
	case http.Flusher, flushErrorer:
		return true
	}
	return false
}

func hijacks(w http.ResponseWriter) bool {
	_, ok := w.(http.Hijacker)
	return ok
}
