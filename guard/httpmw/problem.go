package httpmw

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/jobguard/jobguard/guard"
)

// defaultRetryAfter is the Retry-After, in seconds, where nothing better is known.
const defaultRetryAfter = 1

// problem is the body of an answer, in the format of RFC 9457. Its type is always
// about:blank: the status is all there is to say.
type problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`

	retryAfter int // seconds; 0: no such header
	closeConn  bool
}

// Problem answers a request that was not served: 400, 409 or 503 by the kind of err,
// with Retry-After where a retry makes sense, and a body of type
// application/problem+json that names neither the key nor the holder. It is the
// middleware's default answer; an error handler can call it. docs/behaviour/httpmw.md
// lists the cases.
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

// RetryAfter returns after what time a client may try again, in whole seconds, or 0
// if it should not: what [Problem] puts into Retry-After. It is for error handlers
// ([WithErrorHandler]). Each request that is busy gets a time of its own, so that they
// do not come back together. It is not 0 after a store that is down, or Shutdown, either.
func RetryAfter(err error) time.Duration {
	return time.Duration(describe(err).retryAfter) * time.Second
}

// refusal marks an error of the middleware itself: the handler did not run, unless
// the lease was lost.
type refusal struct {
	error
	retryAfter time.Duration // of a busy key; 0 if unknown
}

func (r refusal) Unwrap() error { return r.error }

// refusalOf returns err, why v's handler did not run or its response is unsent, as a
// refusal.
func refusalOf(err error, v *visit) refusal {
	var e *guard.Error
	if !errors.Is(err, guard.ErrBusy) || !errors.As(err, &e) {
		return refusal{error: err}
	}
	var exact time.Duration
	if errors.Is(err, guard.ErrKeptClosed) {
		exact = e.RetryAfter
	}
	ended := errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
	return refusal{err, v.refuse(exact, ended)}
}

// interrupted reports whether err is of a handler whose context the guard ended.
func interrupted(err error) bool {
	return errors.Is(err, guard.ErrLost) || errors.Is(err, guard.ErrMaxHold) || errors.Is(err, guard.ErrRevoked) ||
		errors.Is(err, guard.ErrReplaced) && !errors.Is(err, guard.ErrBusy)
}

// describe returns what err means to a client. A loss comes first: such an error can
// wrap others. Only of a refusal is it known that nothing was done.
func describe(err error) problem {
	p := problem{Type: "about:blank", Status: http.StatusServiceUnavailable, retryAfter: defaultRetryAfter}
	var own *guard.Error
	var by refusal
	refused := errors.As(err, &by)
	switch {
	case interrupted(err):
		p.Detail = "The request was interrupted. Part of its work may have been done."
		p.retryAfter = 0 // doing it twice may do harm
		p.Title = http.StatusText(p.Status)
		return p
	case errors.Is(err, guard.ErrInvalidKey):
		p.Status, p.retryAfter = http.StatusBadRequest, 0
		p.Detail = "The request does not say, in a usable form, what it is about."
		p.Title = http.StatusText(p.Status)
		return p
	case !refused && !errors.As(err, &own): // the program's own
		p.Status, p.retryAfter = http.StatusInternalServerError, 0
		p.Detail = "The request failed."
	case errors.Is(err, guard.ErrBusy):
		p.Status, p.retryAfter = http.StatusConflict, busyFor(err, by)
		p.Detail = "What the request is about is in use."
		if errors.Is(err, ErrMaxWaiting) {
			p.Detail = "Too many requests wait for what this one is about."
		}
	case errors.Is(err, guard.ErrClosed):
		p.closeConn = true // the next try should meet another process
		p.Detail = "The server is about to stop."
	case errors.Is(err, guard.ErrUnavailable):
		p.Detail = "It could not be made sure that nobody else is at work on the same thing."
	case refused: // the context of the request ended
		p.Detail = "The request was given up before its turn."
	default:
		p.Status, p.retryAfter = http.StatusInternalServerError, 0
		p.Detail = "The request failed."
	}
	if refused {
		p.Detail += " Nothing was done."
	}
	p.Title = http.StatusText(p.Status)
	return p
}

// busyFor returns, in whole seconds, what the middleware has worked out. Of an error
// from elsewhere it is when the holder's lease ends unless it is renewed, rounded up.
func busyFor(err error, by refusal) int {
	after := by.retryAfter
	if e := (*guard.Error)(nil); after == 0 && errors.As(err, &e) {
		after = e.RetryAfter
	}
	return max(defaultRetryAfter, int(roundUp(after)/time.Second))
}
