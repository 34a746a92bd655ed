package quorum

import "github.com/jobguard/jobguard/guard/lease"

// Tokens. Each node mints a range, as long as it may: 10 ms ahead of its clock. The token
// is the highest first of the ranges. A token given out before is below it, since a
// majority of nodes minted, or was told, that one, and one of them is among those that
// mint now. If the ranges of a majority contain the token, those nodes mint none below
// it again, and the grant took one round trip. Else the token is written back.

// spread is how many tokens each node is asked for. So much may nodes' clocks and the
// arrival of requests differ, in µs, without a second round trip.
const spread = 10_000

// tokens are consecutive: first … last.
type tokens struct{ first, last int64 }

// choose returns the tokens of a grant that nodes with the given replies made, at most
// want, and how many of those nodes mint none up to the last again.
func choose(granted []lease.AcquireReply, want, majority int) (t tokens, settled int) {
	var highest int64 // end of the range that begins at t.first
	for _, g := range granted {
		if end := lastOf(g); g.Fence > t.first || g.Fence == t.first && end > highest {
			t.first, highest = g.Fence, end
		}
	}
	// As many as a majority has reserved, at least one.
	t.last = min(t.first+int64(max(1, want))-1, max(t.first, highest))
	if end := kthLargest(granted, majority); end >= t.first {
		t.last = min(t.last, end)
	}
	for _, g := range granted {
		if lastOf(g) >= t.last {
			settled++
		}
	}
	return t, settled
}

func lastOf(g lease.AcquireReply) int64 { return g.Fence + int64(g.TokenCount) - 1 }

// kthLargest is the k-th largest end of the ranges; 0 if there are fewer.
func kthLargest(granted []lease.AcquireReply, k int) int64 {
	for _, g := range granted {
		larger, same := 0, 0
		for _, other := range granted {
			switch end := lastOf(other); {
			case end > lastOf(g):
				larger++
			case end == lastOf(g):
				same++
			}
		}
		if larger < k && k <= larger+same {
			return lastOf(g)
		}
	}
	return 0
}
