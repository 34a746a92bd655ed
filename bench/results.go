package main

import (
	"errors"
	"fmt"
	"slices"
)

// metric is something that is measured. Times are in seconds.
type metric string

const (
	rate     metric = "runs/s"
	waitP50  metric = "wait p50"
	waitP99  metric = "wait p99"
	waitMax  metric = "wait max"
	fairness metric = "slowest/fastest" // runs of the worker with the fewest, by those of the one with the most
	commands metric = "Redis commands/run"
	redisCPU metric = "Redis CPU/run"
	failures metric = "failures" // calls of Do that ended in an error

	allocs    metric = "allocs/run"
	allocated metric = "bytes/run"

	leasesHeld      metric = "leases"
	leasesLost      metric = "lost"
	leaseGoroutines metric = "goroutines/lease"
	leaseBusiest    metric = "goroutines at the busiest moment"
	leaseHeap       metric = "heap bytes/lease"
	leaseStack      metric = "stack bytes/lease"
	leaseMemory     metric = "bytes/lease" // heap and stack
	leaseLateP99    metric = "renewal lateness p99"
	leaseLateMax    metric = "renewal lateness max"
	leaseRenewals   metric = "renewals/s"
	leaseGrants     metric = "grants/s" // while the leases were taken
	leaseRedisCPU   metric = "Redis CPU share"
	leaseRedisBytes metric = "Redis bytes/lease"
	leaseRedisEach  metric = "Redis CPU/renewal"
	leaseClientEach metric = "client CPU/renewal"

	leavingTook    metric = "s until all calls returned"
	leavingErrors  metric = "calls with an error"
	leavingCPU     metric = "Redis CPU share meanwhile"
	leavingPingP99 metric = "PING p99 meanwhile" // of another process
	leavingPingMax metric = "PING max meanwhile"
)

// sample is what one measurement found.
type sample map[metric]float64

// cell is where samples of all rounds meet.
type cell struct{ workload, rival string }

// results is everything that was measured.
type results struct {
	samples map[cell][]sample // by round
	breaks  []error           // locks that did not do what locks are for
}

func newResults() *results { return &results{samples: make(map[cell][]sample)} }

// broken is nil unless exclusion or the order of tokens broke.
func (r *results) broken() error { return errors.Join(r.breaks...) }

// values are a cell's values of m, by round; nil if it was not measured.
func (r *results) values(workload, rival string, m metric) []float64 {
	var vs []float64
	for _, s := range r.samples[cell{workload, rival}] {
		if v, ok := s[m]; ok {
			vs = append(vs, v)
		}
	}
	return vs
}

// median is the median over the rounds. ok is false if it was not measured.
func (r *results) median(workload, rival string, m metric) (v float64, ok bool) {
	s, ok := spreadOf(r.values(workload, rival, m))
	return s.median, ok
}

// record notes what a measurement came to. Guard must not fail at all, a
// rival's failures are only shown.
func (r *results) record(workload, rival string, s sample, err error) error {
	switch {
	case errors.Is(err, errBroken):
		r.breaks = append(r.breaks, fmt.Errorf("%s, %s: %w", workload, rival, err))
	case err != nil:
		return fmt.Errorf("%s, %s: %w", workload, rival, err)
	}
	at := cell{workload, rival}
	r.samples[at] = append(r.samples[at], s)
	return nil
}

// spread sums up the rounds.
type spread struct{ min, median, max float64 }

func spreadOf(vs []float64) (s spread, ok bool) {
	if len(vs) == 0 {
		return spread{}, false
	}
	vs = slices.Sorted(slices.Values(vs))
	m := vs[len(vs)/2]
	if len(vs)%2 == 0 {
		m = (vs[len(vs)/2-1] + m) / 2
	}
	return spread{min: vs[0], median: m, max: vs[len(vs)-1]}, true
}
