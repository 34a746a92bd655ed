package redisstore

import (
	"math"
	"sync"
	"time"
)

// clock keeps a lower bound of the offset of servers' clocks to this process's
// monotonic clock, so that a request can carry its deadline in the server's time. See
// docs/design/redisstore-clock.md.
type clock struct {
	base time.Time // local times are µs since then

	mu     sync.Mutex
	bounds map[int]bound // by slot: nodes of a Cluster have different clocks
}

type bound struct {
	offset int64 // server µs − local µs is at least this
	taken  int64 // local µs
	seen   int64 // local µs of the last reply
}

const maxDrift = 1000 // ppm

func newClock() *clock {
	return &clock{base: time.Now(), bounds: make(map[int]bound)}
}

// now is the local monotonic time in µs.
func (c *clock) now() int64 { return c.at(time.Now()) }

func (c *clock) at(t time.Time) int64 { return t.Sub(c.base).Microseconds() }

// notAfter returns a local deadline in the server's time, or 0 if that is not known.
func (c *clock) notAfter(slot int, deadline time.Time, bounded bool) int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	b, ok := c.bounds[slot]
	if !ok {
		return 0
	}
	if !bounded {
		return 1 << 53 // the greatest integer that Lua represents exactly
	}
	now := c.now()
	left := max(time.Until(deadline), 0).Microseconds()
	return now + left + b.at(now)
}

// floorAge is how long after the server's last reply floor knows its time.
const floorAge = int64(time.Second / time.Microsecond)

// floor is a time that the server's clock has passed, by no more than the last replies
// took to arrive, and a part in a thousand of the time since then; 0 if that is not known.
func (c *clock) floor(slot int) int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	b, ok := c.bounds[slot]
	now := c.now()
	if !ok || now-b.seen > floorAge {
		return 0
	}
	return now + b.at(now)
}

// learn updates the bound from a reply received now: server is the server's time
// in it, sent the local time of the request, late that it was refused as late.
func (c *clock) learn(slot int, server, sent int64, late bool) {
	received := c.now() + 1 // rounded up: the bound must hold
	fresh := bound{offset: server - received, taken: received}
	c.mu.Lock()
	defer c.mu.Unlock()
	old, ok := c.bounds[slot]
	// The server read its clock after the request was sent: server − local is at
	// most this. A bound above it is outdated: the clock stepped back, or another
	// node answered. So may be one after which a request came late.
	most := server + 1 - sent
	if !ok || late || old.at(received) > most || old.at(received) < fresh.offset {
		old = fresh
	}
	old.seen = received
	c.bounds[slot] = old
}

func (b bound) at(now int64) int64 {
	return b.offset - int64(math.Ceil(float64(now-b.taken)*maxDrift/1e6))
}
