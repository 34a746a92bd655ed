package httpmw

import (
	"errors"
	"fmt"
	"net/http"
)

// Option configures [New].
type Option interface{ apply(*options) }

type option func(*options)

func (f option) apply(o *options) { f(o) }

type options struct {
	refuse     func(http.ResponseWriter, *http.Request, error)
	maxWaiting int
	wrong      error // the last option that is out of bounds
}

// WithErrorHandler lets f answer instead of [Problem] when the handler did not run,
// or lost its lease before it had sent anything. f is called at most once per
// request, on its goroutine, with the request as the middleware got it and a
// ResponseWriter with the same interfaces; what the handler had put into the header
// is dropped. If f writes nothing Problem answers: net/http would send a 200.
//
// err matches guard.ErrBusy, ErrUnavailable, ErrClosed, ErrLost, ErrMaxHold, ErrRevoked,
// ErrReplaced or ErrInvalidKey, or the error of the request's context if that ended first. Its text
// contains the key and the holder: do not send it to clients. f can call Problem for
// errors that it does not handle, and [RetryAfter]. It must not be nil.
func WithErrorHandler(f func(w http.ResponseWriter, r *http.Request, err error)) Option {
	return option(func(o *options) {
		if f == nil {
			o.wrong = errors.New("WithErrorHandler: the handler is nil")
			return
		}
		o.refuse = orProblem(f)
	})
}

// defaultMaxWaiting is more than are served within the default wait, unless runs take
// less than 2 ms.
const defaultMaxWaiting = 1000

// ErrMaxWaiting is in the error of a request that [MaxWaiting] refused, beside
// guard.ErrBusy.
var ErrMaxWaiting = errors.New("as many requests of this process wait for it as may")

// MaxWaiting bounds how many requests of this process wait for one key; default 1000.
// One more is refused at once as busy, with [ErrMaxWaiting]: the store is not asked,
// and the guard's observers do not see it. A request counts from its arrival until its
// handler starts; one whose context holds the key does not. n must be positive.
func MaxWaiting(n int) Option {
	return option(func(o *options) {
		if n <= 0 {
			o.wrong = fmt.Errorf("MaxWaiting: %d is not positive", n)
			return
		}
		o.maxWaiting = n
	})
}

// newOptions applies opts to the defaults, or returns which is wrong, and why.
func newOptions(opts []Option) (options, error) {
	o := options{refuse: Problem, maxWaiting: defaultMaxWaiting}
	for _, opt := range opts {
		if opt == nil {
			return o, errors.New("an Option is nil")
		}
		opt.apply(&o)
	}
	return o, o.wrong
}
