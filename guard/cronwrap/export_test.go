package cronwrap

import "time"

// SetClock sets how far the clock of r's process is ahead of the true time.
func (r *Runner) SetClock(ahead time.Duration) { r.clock.Store(int64(ahead)) }
