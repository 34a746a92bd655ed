package asynqmw

import "time"

// Rest sets the least that a deferred task rests.
func Rest(d time.Duration) Option { return option(func(o *options) { o.rest = d }) }
