package httpmw

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/jobguard/jobguard/guard"
)

// soon is after how many seconds to come back where nobody knows better.
const defaultRetryAfter = 1

// problem is the body of an answer, in the format of RFC 9457. Its type is
// always about:blank: the status says it all.
type problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`

	retryAfter int // seconds; 0: not to be said
	closeConn  bool
}

// Problem answers a request that was not served: 400, 409 or 503 by the kind of
// err, with Retry-After where coming back makes sense, and a body of type
// application/problem+json that names neither the key nor who holds it. It is what
// the middleware answers with by default; an error handler of your own can
// fall back on it. The package documentation has the table.
func Problem(w http.ResponseWriter, _ *http.Request, err error) {
	p := describe(err)
	body, err := json.Marshal(p)
	if err != nil {
		panic("httpmw: " + err.Error()) // strings and a number
	}
	h := w.Header()
	h.Set("Content-Type", "application/problem+json")
	h.Set("Cache-Control", "no-store")
	h.Del("Content-Length")
	h.Del("Retry-After")
	if p.retryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(p.retryAfter))
	}
	if p.closeConn {
		h.Set("Connection", "close")
	}
	w.WriteHeader(p.Status)
	_, _ = w.Write(body) // the client may be gone
}

// describe says what err means to a client. A loss comes first: such an error can
// wrap others.
func describe(err error) problem {
	p := problem{Type: "about:blank", Status: http.StatusServiceUnavailable, retryAfter: defaultRetryAfter}
	switch {
	case errors.Is(err, guard.ErrLost), errors.Is(err, guard.ErrMaxHold):
		p.Detail = "The request was interrupted. Part of its work may have been done."
		p.retryAfter = 0 // it is not for us to say that doing it twice is harmless
	case errors.Is(err, guard.ErrInvalidKey):
		p.Status, p.retryAfter = http.StatusBadRequest, 0
		p.Detail = "The request does not say, in a usable form, what it is about."
	case errors.Is(err, guard.ErrBusy):
		p.Status, p.retryAfter = http.StatusConflict, busyFor(err)
		p.Detail = "Another request is at work on the same thing. Nothing was done."
	case errors.Is(err, guard.ErrClosed):
		p.closeConn = true // the next try should meet another process
		p.Detail = "The server is about to stop. Nothing was done."
	case errors.Is(err, guard.ErrUnavailable):
		p.Detail = "It could not be made sure that nobody else is at work on the same thing. Nothing was done."
	default: // the context of the request ended
		p.Detail = "The request was given up before its turn. Nothing was done."
	}
	p.Title = http.StatusText(p.Status)
	return p
}

// busyFor returns in whole seconds, rounded up, when the holder's lease ends
// unless it is renewed.
func busyFor(err error) int {
	var e *guard.Error
	if !errors.As(err, &e) {
		return defaultRetryAfter
	}
	return max(defaultRetryAfter, int((e.RetryAfter-1)/time.Second)+1)
}
