package journal

import (
	"errors"
	"fmt"
	"time"

	"github.com/jobguard/jobguard/guard/internal/option"
)

// Option configures a Journal.
type Option = option.Option[options]

type set = option.Func[options]

type options struct {
	maxAttempts int
	maxOpen     int
	retain      time.Duration
	ordered     bool
	onDead      func(Record)
	observers   []Observer
}

var defaults = options{maxAttempts: 10, maxOpen: 100_000, retain: 24 * time.Hour}

// MaxAttempts is how often a handler is called for a record before the record is dead.
// At least 1; default 10, which takes 8 to 17 minutes.
func MaxAttempts(n int) Option {
	return set(func(o *options) error {
		if n < 1 {
			return fmt.Errorf("MaxAttempts %d is less than 1", n)
		}
		o.maxAttempts = n
		return nil
	})
}

// MaxOpen is how many runs may be open in the log: under way, or not compensated yet.
// Then Do returns ErrFull. Dead ones do not count. At least 1; default 100 000.
func MaxOpen(n int) Option {
	return set(func(o *options) error {
		if n < 1 {
			return fmt.Errorf("MaxOpen %d is less than 1", n)
		}
		o.maxOpen = n
		return nil
	})
}

// Retain is how long the log keeps a record that is done or compensated. At least 1 s;
// default 24 hours.
func Retain(d time.Duration) Option {
	return set(func(o *options) error {
		if d < time.Second {
			return fmt.Errorf("Retain %v is less than 1s", d)
		}
		o.retain = d
		return nil
	})
}

// Ordered compensates the open records of a key before a new run of it begins, so that
// no run builds on a half-done one. Do calls the handlers of its own process, under the
// key, on its own goroutine. If one fails, has failed and is not due again, or is
// missing, Do returns ErrOpen. The outcome of a run is stored before its release: one
// round trip more.
func Ordered() Option {
	return set(func(o *options) error { o.ordered = true; return nil })
}

// OnDead is called when a record is dead, once, on the goroutine of the handler, under
// the record's key: to call a person. A process that dies in between does not call it; Stats still
// counts the record. A panic in f is logged. Default: log/slog at level Error.
func OnDead(f func(Record)) Option {
	return set(func(o *options) error {
		if f == nil {
			return errors.New("OnDead: the function is nil")
		}
		o.onDead = f
		return nil
	})
}

// Observe adds an Observer, such as an otelguard.Observer. It may be given several times.
// EventUnstored, EventCheckFailed and EventSweepFailed are also logged with log/slog, at
// level Warn.
func Observe(o Observer) Option {
	return set(func(opts *options) error {
		if o == nil {
			return errors.New("Observe: the Observer is nil")
		}
		opts.observers = append(opts.observers[:len(opts.observers):len(opts.observers)], o)
		return nil
	})
}
