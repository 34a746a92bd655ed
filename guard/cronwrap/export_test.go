package cronwrap

import "time"

// ErrUnrun is why a tick whose claim had no reply does not run.
var ErrUnrun = errUnrun

// SetClock sets how far the clock of r's process is ahead of the true time.
func (r *Runner) SetClock(ahead time.Duration) { r.clock.Store(int64(ahead)) }
