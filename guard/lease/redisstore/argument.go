package redisstore

import (
	"strconv"
	"time"

	"github.com/jobguard/jobguard/guard/lease"
)

// queueArgument is ARGV[5] of the scripts, which they parse only if there is a queue or
// there are several holders; see argument.lua.
type queueArgument struct {
	place      string
	keepClosed int64
	join       bool
	ticket     int64
	counted    bool
	beacon     int64
}

func (s *Store) argument(a queueArgument) string {
	b := make([]byte, 0, 64+len(a.place)+len(s.inboxes))
	b = append(append(b, a.place...), ';')
	for _, n := range [...]int64{a.keepClosed, bit(a.join), a.ticket, bit(a.counted), bit(s.single), a.beacon} {
		b = strconv.AppendInt(b, n, 10)
		b = append(b, ',')
	}
	return string(append(b, s.inboxes...))
}

// placeText is a waiter's place as the scripts write it: with the owner it is the
// member of the queue.
func placeText(p lease.Place, limit lease.Limit) string {
	b := make([]byte, 0, 24)
	b = append(strconv.AppendInt(b, millis(p.Reservation), 10), ',')
	b = append(strconv.AppendInt(b, millis(p.Patience()), 10), ',')
	b = strconv.AppendInt(b, int64(limit), 10)
	if p.GrantTokens > 1 && limit == lease.Exclusive {
		b = strconv.AppendInt(append(b, ','), int64(p.GrantTokens), 10)
	}
	return string(b)
}

func bit(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// millis rounds up: a lease must not end on the server before its owner's trust.
func millis(d time.Duration) int64 {
	return int64((d + time.Millisecond - 1) / time.Millisecond)
}
