package httpmw

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/felixge/httpsnoop"
)

// wrap returns w behind the gate, with exactly the interfaces that w has.
// WriteString comes in by way of write.
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
	if below, ok := w.(interface{ Unwrap() http.ResponseWriter }); ok && bare(w) {
		return through{gated, r.wrap(below.Unwrap())}
	}
	return gated
}

// through is behind the gate what a wrapper is that has nothing but Unwrap: an
// http.ResponseController goes through it and flushes what lies below. That must
// be gated as well, or a header could be sent without our knowing.
type through struct {
	http.ResponseWriter
	below http.ResponseWriter
}

func (t through) Unwrap() http.ResponseWriter { return t.below }

// bare says whether w has none of the optional interfaces that are kept.
func bare(w http.ResponseWriter) bool {
	switch w.(type) {
	case http.Flusher, interface{ FlushError() error },
		http.CloseNotifier, //nolint:staticcheck // deprecated, and kept like the others
		http.Hijacker, http.Pusher, io.ReaderFrom, io.StringWriter,
		interface{ SetReadDeadline(time.Time) error },
		interface{ SetWriteDeadline(time.Time) error },
		interface{ EnableFullDuplex() error }:
		return false
	}
	return true
}
