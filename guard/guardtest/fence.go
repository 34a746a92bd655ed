package guardtest

import "time"

// maxAhead is how far tokens may run ahead of the clock, in microseconds: see
// [lease.AcquireRequest].
const maxAhead = 10_000

// mintLocked returns the first of n consecutive tokens, n at most want and at least 1.
// They are never below the clock, so that they rise even after the counter was lost.
func (s *Store) mintLocked(want int) (first int64, n int) {
	now := time.Now().UnixMicro()
	first = max(s.fence+1, now)
	n = int(max(1, min(int64(want), now+maxAhead-first+1)))
	s.fence = first + int64(n) - 1
	return first, n
}
