package main

import (
	"context"
	"errors"
	"time"

	"github.com/jobguard/jobguard/guard"
)

// shutdown holds many leases, some times as many as the plan says, and lets all
// functions return at the same moment, as when a process with many runs is told to
// end. Another process uses the server meanwhile.
func shutdown(times int) func(ctx context.Context, p plan, _ rival) (sample, error) {
	return func(ctx context.Context, p plan, _ rival) (_ sample, err error) {
		server, err := startServer(ctx)
		if err != nil {
			return nil, err
		}
		defer server.stop()
		seen := &renewals{ttl: p.leaseTTL}
		locker, err := openGuard([]string{server.addr}, p.setup, guard.TTL(p.leaseTTL), guard.Observe(seen))
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, locker.Close()) }()

		holders := newHerd(times*p.leases, locker.guard.Do)
		holders.stampede = true
		holders.gather(ctx)
		before, err := server.usage(ctx)
		if err != nil {
			return nil, errors.Join(err, holders.disperse())
		}
		other, err := startPinger(server.addr)
		if err != nil {
			return nil, errors.Join(err, holders.disperse())
		}
		began := time.Now()
		broken := holders.disperse()
		took := time.Since(began)
		pings, err := other.stop()
		after, e := server.usage(ctx)
		if err := errors.Join(err, e); err != nil {
			return nil, err
		}
		return sample{
			leasesHeld:     float64(holders.size),
			leasesLost:     float64(seen.sum().lost),
			leavingTook:    took.Seconds(),
			leavingErrors:  float64(holders.errors.Load()),
			leavingCPU:     after.since(before).cpu / took.Seconds(),
			leavingPingP99: pings.P99.Seconds(),
			leavingPingMax: pings.Max.Seconds(),
		}, broken
	}
}
