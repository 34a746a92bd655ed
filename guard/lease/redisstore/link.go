package redisstore

import (
	"context"
	"time"
)

const (
	// While a node has not answered yet, a request is sent again after firstDoubt. It
	// is short because the first request stays open.
	firstDoubt = 350 * time.Millisecond
	// mostDoubt bounds what late answers add.
	mostDoubt = 2 * time.Second
	// leastDoubt is more than a server on a near network stalls now and then: while
	// it forks, or runs a slow command.
	leastDoubt = 100 * time.Millisecond

	// go-redis makes a connection in up to five round trips, without TLS, and the
	// command takes one more.
	setupRTTs = 8
	// longest is the same while the round trip is not known. Behind Sentinel there are
	// two connections to make.
	longest = 10 * time.Second
)

// link is what is known of the way to a node. It is guarded by batcher.mu.
type link struct {
	rtt   time.Duration // smoothed time from sending to the reply
	known bool
	late  time.Duration // twice what an answer took that came after doubt; it fades
	extra time.Duration // that an answer may take besides: ReplicaAck's timeout
}

// observe folds in one measured time. What stood in the way, such as a connection to
// make, is measured with it, so less counts for more.
func (l *link) observe(d time.Duration) {
	switch {
	case !l.known:
		l.rtt, l.known = d, true
	case d < l.rtt:
		l.rtt -= (l.rtt - d) / 2
	default:
		l.rtt += (d - l.rtt) / 8
	}
}

// answered notes that a first request was answered after d. If a second one had been
// sent by then it was of no use: where a machine is too busy to answer sooner, more
// requests would only make it worse.
func (l *link) answered(d time.Duration) {
	if d > l.doubt() {
		l.late = min(2*d, mostDoubt)
	} else {
		l.late -= l.late / 8
	}
}

// doubt is when a request without an answer is sent again.
func (l *link) doubt() time.Duration {
	least := firstDoubt
	if l.known {
		least = max(leastDoubt, 2*l.rtt)
	}
	return max(least, l.late) + l.extra
}

// near reports whether a connection that does not answer may be given up after
// doubt: then its answer is hardly still under way.
func (l *link) near() bool { return l.known && setupRTTs*l.rtt <= leastDoubt }

// setup is how long a request may take that has to make its connection. It goes on for so
// long after its callers have left: or over a slow link no connection was ever made.
func (l *link) setup() time.Duration {
	if !l.known {
		return longest + l.extra
	}
	return min(setupRTTs*l.rtt, longest) + l.extra
}

// timed sends ops and returns how long that took. It returns 0 if a connection was
// made meanwhile, unless the round trip is known: several times that would be a bad
// start.
func (b *batcher) timed(ctx context.Context, ops []*op, known bool) time.Duration {
	made := uint32(0)
	if !known {
		made = b.connections(ops[0].key)
	}
	sent := time.Now()
	b.send(ctx, ops)
	took := time.Since(sent)
	if !known && made != b.connections(ops[0].key) {
		return 0
	}
	return took
}

// connections counts those that the node's client has made.
func (b *batcher) connections(key string) uint32 {
	if b.node == nil {
		return 0
	}
	node := b.node(key)
	if node == nil {
		return 0
	}
	stats := node.PoolStats()
	made := stats.Misses
	if stats.PipelineStats != nil { // they have a pool of their own
		made += stats.PipelineStats.Misses
	}
	return made
}
