package httpmw

import (
	"bufio"
	"context"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/felixge/httpsnoop"

	"github.com/jobguard/jobguard/guard"
)

// response is a gate in front of the ResponseWriter: it passes what the handler
// writes while the lease lasts, and a loss closes it. Asking for the lease and
// recording that something was sent is one step under mu. See
// docs/design/httpmw-gate.md.
type response struct {
	w   http.ResponseWriter
	req *http.Request
	key string

	ctx    context.Context // of the run; set before the handler runs
	before http.Header     // the header before the handler
	tail   tail            // used by the goroutine that writes alone, as w is

	mu       sync.Mutex // never held during a write
	sent     bool       // a header that is not 1xx was passed on, at least into buffers
	unread   bool       // the end of the request's body has not been read
	hijacked bool
	over     bool  // the run has ended, and no loss was seen until then
	loss     error // why the gate is closed, or the run did not begin
}

// result is the state of a response after the run.
type result int

const (
	complete result = iota // all that the handler wrote may be sent
	unsent                 // nothing was sent: the middleware answers
	partial                // a part was sent that must not be taken for the whole
	taken                  // the connection was hijacked
)

func newResponse(w http.ResponseWriter, r *http.Request, key string) *response {
	return &response{w: w, req: r, key: key, tail: tail{left: unknown}}
}

// serve runs next under ctx.
func (r *response) serve(ctx context.Context, next http.Handler) {
	r.ctx, r.before = ctx, r.w.Header().Clone()
	req := r.req.WithContext(ctx)
	r.gateBody(req)
	interrupted := make(chan struct{})
	// The goroutine is that of AfterFunc. It is stopped or waited for before the
	// handler's return or panic goes on: later the connection may belong to another
	// request.
	stop := context.AfterFunc(ctx, func() {
		defer close(interrupted)
		r.interrupt()
	})
	returned := false
	defer func() {
		if !stop() {
			<-interrupted
		}
		r.req.MultipartForm = req.MultipartForm // net/http removes its files
		if !returned {
			r.panicked()
		}
	}()
	next.ServeHTTP(r.wrap(r.w), req)
	returned = true
}

// lostLocked returns why the lease is lost, nil while it is not. A context that ended
// because the client went away, or at Shutdown, is no loss.
func (r *response) lostLocked() error {
	switch {
	case r.loss != nil || r.over:
		return r.loss
	case r.ctx.Err() == nil:
		return nil
	}
	cause := context.Cause(r.ctx)
	switch {
	case interrupted(cause):
		r.loss = cause
	case !guard.Holding(r.ctx, r.key): // lost after the context had ended
		r.loss = guard.ErrLost
	}
	return r.loss
}

// pass is called before anything that sends the header.
func (r *response) pass() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.lostLocked(); err != nil {
		return err
	}
	if !r.sent {
		r.sent = true
		if !r.over { // else the tail would not be sent
			r.tail.expect(r.w.Header())
		}
	}
	return nil
}

// state returns whether a header was passed on, and why the gate is closed.
func (r *response) state() (sent bool, lost error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.sent, r.lostLocked()
}

// interrupt ends a write, and a read of the body, that is under way when the lease is lost: to a slow client
// it could take long.
func (r *response) interrupt() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.lostLocked() == nil || r.hijacked {
		return
	}
	if r.sent {
		stopWriting(r.w)
	}
	if r.unread { // net/http would read on before it answers
		stopReading(r.w)
	}
}

// panicked replaces conclude after a panic. A middleware further out may recover:
// then the gate must be open for a 500, also after a loss if nothing was sent, and a
// part that was sent before a loss must not become the whole. What the tail keeps
// back is not sent.
func (r *response) panicked() {
	r.mu.Lock()
	defer r.mu.Unlock()
	lost := r.lostLocked() != nil
	switch {
	case lost && r.hijacked:
	case lost && r.sent:
		r.breakOff()
	case lost:
		r.restoreHeader()
		fallthrough
	default:
		r.loss, r.over = nil, true
	}
}

// restoreHeader drops what the handler has put into the header.
func (r *response) restoreHeader() {
	h := r.w.Header()
	clear(h)
	maps.Copy(h, r.before)
}

// conclude closes the gate after err, opens it for good after nil, and returns what
// is to be done.
func (r *response) conclude(err error) result {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		// Without an error a write may have seen a loss too: the run was nested in
		// one that was cancelled with ErrMaxHold.
		r.loss = err
	}
	switch {
	case r.loss == nil:
		r.over = true
		return complete
	case r.hijacked:
		return taken
	case r.sent:
		return partial
	}
	if r.ctx != nil {
		r.restoreHeader()
	}
	return unsent
}

// finish sends what the tail kept back.
func (r *response) finish() {
	if last := r.tail.take(); last != nil {
		_, _ = r.w.Write(last) // the client may be gone
	}
}

func (r *response) writeHeader(next httpsnoop.WriteHeaderFunc, status int) {
	if informational(status) { // more headers come
		if _, lost := r.state(); lost == nil {
			next(status)
		}
		return
	}
	if r.pass() == nil {
		next(status)
	}
}

func informational(status int) bool {
	return status >= 100 && status <= 199 && status != http.StatusSwitchingProtocols
}

func (r *response) write(next httpsnoop.WriteFunc, p []byte) (int, error) {
	if err := r.pass(); err != nil {
		return 0, err
	}
	n, err := r.tail.write(next, p)
	return n, r.because(err)
}

// readFrom leaves to next, which may be sendfile, all but the beginning. That is
// written to w, which ends in write: while a source that fails or is slow has yielded
// nothing, nothing is sent. A later loss interrupts next.
func (r *response) readFrom(w io.Writer, next httpsnoop.ReadFromFunc, src io.Reader) (n int64, err error) {
	sent, lost := r.state()
	switch {
	case lost != nil:
		return 0, lost
	case r.req.Method == http.MethodHead: // next would flush the header, which is the whole response
		n, err = io.Copy(struct{ io.Writer }{w}, src)
		return n, r.because(err)
	case !sent:
		n, err = io.CopyBuffer(struct{ io.Writer }{w}, io.LimitReader(src, beginning), make([]byte, beginning))
		if err != nil || n < beginning {
			return n, r.because(err)
		}
	}
	m, err := r.tail.readFrom(w, next, src)
	return n + m, r.because(err)
}

// beginning is how much of a source net/http, too, reads before it uses sendfile.
const beginning = 512

// because adds the loss to err, of a write that interrupt made fail with a timeout.
func (r *response) because(err error) error {
	if err == nil {
		return nil
	}
	if _, lost := r.state(); lost != nil && !errors.Is(err, lost) {
		return errors.Join(lost, err)
	}
	return err
}

func (r *response) flush(next httpsnoop.FlushFunc) {
	if r.pass() == nil {
		next()
	}
}

func (r *response) flushError(next httpsnoop.FlushErrorFunc) error {
	if err := r.pass(); err != nil {
		return err
	}
	return r.because(next())
}

// hijack holds mu throughout, so that interrupt never meets a connection that belongs
// to the handler. What was kept back of a body is sent: the handler decides when the
// response is complete.
func (r *response) hijack(next httpsnoop.HijackFunc) (net.Conn, *bufio.ReadWriter, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.lostLocked(); err != nil {
		return nil, nil, err
	}
	conn, rw, err := next()
	if err != nil { // also of a second call, after one that succeeded
		return conn, rw, err
	}
	r.hijacked = true
	if last := r.tail.take(); last != nil {
		_, _ = conn.Write(last) // the client may be gone
	}
	return conn, rw, nil
}

// setWriteDeadline keeps the handler from moving the deadline that ended its writes.
func (r *response) setWriteDeadline(next httpsnoop.SetWriteDeadlineFunc, t time.Time) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.lostLocked(); err != nil {
		return err
	}
	return next(t)
}
