package httpmw

import (
	"io"
	"net/http"
	"strconv"

	"github.com/felixge/httpsnoop"
)

// unknown is how much is left of a body without Content-Length.
const unknown = -1

// tail keeps back the last byte of a body until the run has ended well.
//
// Without Content-Length the end of a body is a mark that net/http writes after
// the handler has returned, so a response can be broken off until then. With
// Content-Length it is whole for the client as soon as the last byte is there,
// and a handler may write that, even flush it, and lose the lease afterwards.
type tail struct {
	left int64 // until the body is whole; unknown: it has no announced end
	last []byte
}

// expect notes how long the body will be, from the header that is about to be sent.
// If there is to be no body after all, to HEAD say, nothing is kept back that
// matters.
func (t *tail) expect(h http.Header) {
	n, err := strconv.ParseInt(h.Get("Content-Length"), 10, 64)
	if err == nil && n > 0 {
		t.left = n
	}
}

// announced says whether the client knows how long the body is.
func (t *tail) announced() bool { return t.left != unknown }

// take returns what was kept back, if anything. What comes later is not the run's.
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
	n, err = next(p[:all]) // also of nothing: it settles the header
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

// readFrom leaves to next, which may be sendfile, all but the last byte. That comes
// in by w, which is to end in write.
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

// upTo has next read no more than most bytes from src. sendfile sees a file through one
// LimitedReader, not through two.
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
