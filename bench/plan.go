package main

import "time"

// ttl is how long every rival's lock lives without renewal.
const ttl = 10 * time.Second

// How long rivals that poll pause between two tries, unless -retry says
// otherwise. A short pause loads Redis with refusals and takes from throughput; a
// long one leaves the key to the worker that released it just before, which comes back at
// once, and the others starve. Without work nearly all is throughput, and it
// hardly grows beyond 20 ms. With work a shorter pause gives shorter waits;
// below 5 ms they get little shorter and throughput falls.
const (
	retryIdle    = 20 * time.Millisecond
	retryWorking = 5 * time.Millisecond
)

// plan is what to measure, and how long.
type plan struct {
	workloads []workload
	rivals    []rival

	rounds   int
	duration time.Duration // of one measurement
	warmup   time.Duration // before it: connections are made, scripts loaded
	pairs    int           // acquire and release, when allocations are counted

	leases    int // how many are held at once
	leaseTTL  time.Duration
	leaseHold time.Duration

	setup
}

// setup is what rivals are opened with.
type setup struct {
	retry time.Duration // pause between tries of rivals that poll; 0: what suits the workload
	pool  int           // PoolSize of go-redis clients; 0: its default
}

func fullPlan() plan {
	return plan{
		rounds:    5,
		duration:  2 * time.Second,
		warmup:    300 * time.Millisecond,
		pairs:     5000,
		leases:    100_000,
		leaseTTL:  30 * time.Second,
		leaseHold: 2 * time.Minute,
	}
}

func quickPlan() plan {
	return plan{
		rounds:    2,
		duration:  120 * time.Millisecond,
		warmup:    40 * time.Millisecond,
		pairs:     200,
		leases:    10_000,
		leaseTTL:  6 * time.Second,
		leaseHold: 15 * time.Second,
	}
}
