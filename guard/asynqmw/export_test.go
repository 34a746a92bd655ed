package asynqmw

import "time"

// Rest sets the least that a deferred task rests.
func Rest(d time.Duration) Option { return set(func(o *options) error { o.rest = d; return nil }) }
