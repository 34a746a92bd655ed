package httpmw

import (
	"io"
	"net/http"
	"strconv"

	"github.com/felixge/httpsnoop"
)

// unknown is the rest of a body without Content-Length.
const unknown = -1

// tail keeps back the last byte of a body until the run has kept its lease to the
// end: a body with Content-Length is complete for the client as soon as that byte
// arrives. See docs/design/httpmw-gate.md.
type tail struct {
	left int64 // bytes until the end of the body, or unknown
	last []byte
}

// expect records the length of the body from the header that is about to be sent. If
// there is no body after all, to HEAD for example, nothing that matters is kept back.
func (t *tail) expect(h http.Header) {
	n, err := strconv.ParseInt(h.Get("Content-Length"), 10, 64)
	if err == nil && n > 0 {
		t.left = n
	}
}

// announced reports whether the client knows the length of the body.
func (t *tail) announced() bool { return t.left != unknown }

// take returns what was kept back, if anything. Later writes are not kept back.
func (t *tail) take() []byte {
	last := t.last
	*t = tail{left: unknown}
	return last
}

func (t *tail) write(next httpsnoop.WriteFunc, p []byte) (n int, err error) {
	switch {
	case t.left == 0 && len(p) > 0:
		return 0, http.ErrContentLength
	case t.left != int64(len(p)) || len(p) == 0:
		n, err = next(p)
		t.sent(int64(n))
		return n, err
	}
	all := len(p) - 1
	n, err = next(p[:all]) // also of no byte: it sends the header
	t.sent(int64(n))
	if err != nil {
		return n, err
	}
	t.left, t.last = 0, []byte{p[all]}
	return len(p), nil
}

func (t *tail) sent(n int64) {
	if t.announced() {
		t.left -= n
	}
}

// readFrom leaves to next, which may be sendfile, all but the last byte. That is
// written to w, which ends in write.
func (t *tail) readFrom(w io.Writer, next httpsnoop.ReadFromFunc, src io.Reader) (n int64, err error) {
	if !t.announced() {
		return next(src)
	}
	if t.left > 1 {
		n, err = upTo(t.left-1, next, src)
		t.sent(n)
		if err != nil || t.left > 1 {
			return n, err
		}
	}
	m, err := io.CopyBuffer(struct{ io.Writer }{w}, src, make([]byte, 512))
	return n + m, err
}

// upTo lets next read no more than most bytes from src. sendfile sees a file through
// one LimitedReader, not through two.
func upTo(most int64, next httpsnoop.ReadFromFunc, src io.Reader) (int64, error) {
	limited, ok := src.(*io.LimitedReader)
	if !ok {
		return next(&io.LimitedReader{R: src, N: most})
	}
	most = min(most, limited.N)
	head := &io.LimitedReader{R: limited.R, N: most}
	n, err := next(head)
	limited.N -= most - head.N
	return n, err
}
