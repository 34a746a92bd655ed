package httpmw

import (
	"errors"
	"io"
	"net/http"
	"time"
)

// body is the gate in front of the request's body: reads end with the loss too.
type body struct {
	io.ReadCloser
	r *response
}

// gateBody puts the gate in front of req's body.
func (r *response) gateBody(req *http.Request) {
	if req.Body != nil && req.Body != http.NoBody {
		req.Body, r.unread = &body{req.Body, r}, true
	}
}

func (b *body) Read(p []byte) (int, error) {
	b.r.mu.Lock()
	lost := b.r.lostLocked()
	b.r.mu.Unlock()
	if lost != nil {
		return 0, lost
	}
	n, err := b.ReadCloser.Read(p)
	b.r.mu.Lock()
	defer b.r.mu.Unlock()
	if err != nil {
		b.r.unread = false
	}
	if lost = b.r.lostLocked(); lost == nil {
		return n, err
	}
	if err == nil || errors.Is(err, io.EOF) { // a body that ends after the loss is not whole
		return n, lost
	}
	return n, errors.Join(lost, err)
}

// stopReading ends a read that is under way, of the handler or of net/http, which reads
// what the handler left before it answers: a slow client could make it last. Where this
// is not supported, the read ends when something comes.
func stopReading(w http.ResponseWriter) {
	_ = http.NewResponseController(w).SetReadDeadline(time.Unix(1, 0))
}
