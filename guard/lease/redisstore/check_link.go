package redisstore

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// checkedTrips is how many round trips are measured, for at most checkedFor.
	checkedTrips = 100
	checkedFor   = time.Second
	// clockTolerance is more than NTP leaves.
	clockTolerance = time.Second
	// messageWithin is how long a message to an own subscription may take.
	messageWithin = 2 * time.Second
)

// wakeUps publishes to a channel that it has subscribed to, which proxies often do not
// pass. It returns the server's refusal if the user may not subscribe.
func (e *examination) wakeUps(ctx context.Context, n node) (denial error) {
	_, channel := e.probeNames()
	ctx, cancel := context.WithTimeout(ctx, longest)
	defer cancel()
	sub := n.client.Subscribe(ctx, channel)
	defer func() { _ = sub.Close() }()         // nothing more is expected of it
	_, err := sub.ReceiveTimeout(ctx, longest) // it makes the connection, behind Sentinels slowly
	if redis.HasErrorPrefix(err, "NOPERM") {
		return err
	}
	if err == nil {
		if err = n.client.Publish(ctx, channel, "check").Err(); err == nil {
			_, err = sub.ReceiveTimeout(ctx, messageWithin)
		}
	}
	if err != nil && !refused(err) { // a missing right is a finding of its own
		e.note("wake-ups", Risk, n.says(fmt.Sprintf("or a proxy before it does not deliver what is published (%v): waiters poll, a handoff takes up to a second", err)),
			"connect to Redis itself, or let the proxy pass SUBSCRIBE and PUBLISH")
	}
	return nil
}

// times measures the round trip and the difference of the clocks.
func (e *examination) times(ctx context.Context, n node) {
	var trips []time.Duration
	begin := time.Now()
	for len(trips) < checkedTrips && (len(trips) == 0 || time.Since(begin) < checkedFor) {
		sent := time.Now()
		clock, err := n.client.Time(ctx).Result()
		if err != nil {
			return // no right, or no answer: other findings
		}
		trip := time.Since(sent)
		if trips = append(trips, trip); len(trips) == 1 {
			e.clock(n, clock.Sub(sent.Add(trip/2)), trip/2)
		}
	}
	slices.Sort(trips)
	p50, p99 := trips[len(trips)/2], trips[(len(trips)*99-1)/100] // of a hundred the 99th: one may have met a stall
	// A renewal is sent when a third of the TTL is over; trust ends after nine tenths.
	severity := ""
	switch {
	case p99 > e.ttl/4:
		severity = Broken
	case p99 > e.ttl/50:
		severity = Risk
	}
	if severity != "" {
		e.note("round-trip", severity, n.says(fmt.Sprintf("answers within %v (half of the requests) and %v (99 of 100), much for leases of %v: few retries of a renewal fit, and leases are lost",
			p50.Round(time.Microsecond), p99.Round(time.Microsecond), e.ttl)), fmt.Sprintf("a nearer or less busy server, or guard.TTL(%v)", (50*p99).Round(time.Second)+time.Second))
	}
}

func (e *examination) clock(n node, ahead, uncertain time.Duration) {
	if ahead.Abs() <= clockTolerance+uncertain {
		return
	}
	e.note("clock", Risk, n.says(fmt.Sprintf("has a clock that differs by %v from this machine's: fencing tokens fall after a failover to a clock that is behind, and ticks of schedules are judged by different times", ahead.Round(time.Millisecond))),
		"run NTP (chrony) on both machines")
}
