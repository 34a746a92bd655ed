package redisstore

import (
	"math"
	"sync"
	"time"
)

// clock knows how far servers' clocks are ahead of this process's monotonic one,
// so that a request can say until when, in the server's time, it is welcome.
//
// What is kept is a lower bound. A reply with server time S, received at local
// time R, proves that the server was at S or later at R: server − local >= S − R.
// So deadline + bound never lies after the server's time at the local deadline,
// and a request that the server takes by that limit is taken before the caller
// gives up. Two clocks drift apart by less than maxDrift; the bound decays by
// that, and newer replies raise it again.
type clock struct {
	base time.Time // local times are µs since then

	mu     sync.Mutex
	bounds map[int]bound // by slot; nodes of a Cluster have different clocks
}

type bound struct {
	offset int64 // server µs − local µs is at least that
	taken  int64 // local µs
}

const maxDrift = 1000 // ppm

func newClock() *clock {
	return &clock{base: time.Now(), bounds: make(map[int]bound)}
}

// now is the local time in µs. Steps of the wall clock do not move it.
func (c *clock) now() int64 { return c.at(time.Now()) }

func (c *clock) at(t time.Time) int64 { return t.Sub(c.base).Microseconds() }

// notAfter is a local deadline in the server's time, or 0 if that is not known.
func (c *clock) notAfter(slot int, deadline time.Time, bounded bool) int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	b, ok := c.bounds[slot]
	if !ok {
		return 0
	}
	if !bounded {
		return 1 << 53 // as late as Lua can say exactly
	}
	now := c.now()
	left := max(time.Until(deadline), 0).Microseconds()
	return now + left + b.at(now)
}

// learn takes a reply with server time server, to a request sent at local time
// sent and just received. late: the server refused it as late.
func (c *clock) learn(slot int, server, sent int64, late bool) {
	received := c.now() + 1 // rounded up: the bound must hold
	fresh := bound{offset: server - received, taken: received}
	c.mu.Lock()
	defer c.mu.Unlock()
	old, ok := c.bounds[slot]
	// The server read its clock after the request was sent: server − local is
	// at most this. A bound above it is from before the clock stepped back, or
	// from another node. A late refusal may say the same.
	most := server + 1 - sent
	if !ok || late || old.at(received) > most || old.at(received) < fresh.offset {
		c.bounds[slot] = fresh
	}
}

func (b bound) at(now int64) int64 {
	return b.offset - int64(math.Ceil(float64(now-b.taken)*maxDrift/1e6))
}
