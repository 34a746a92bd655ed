package main

import (
	"context"
	"time"
)

// workload is something that locks are made to do.
type workload struct {
	name  string
	title string
	only  string // the one rival that can do it; "" if all can
	nodes int    // servers; 0: one
	once  bool   // takes too long for several rounds, or comes to the same in each

	measure func(ctx context.Context, p plan, r rival) (sample, error)
}

// The names that bars refer to.
const (
	alone      = "alone"
	crowd      = "crowd"
	oneKey64x1 = "64x1"
	oneKey8x8  = "8x8"
	oneKeyWork = "8x8-1ms"
	garbage    = "allocs"
	manyLeases = "leases"
	leaving    = "shutdown"
	leaving3   = "shutdown-3x"

	threeAlone   = "3-alone"
	threeStopped = "3-stopped"
	threeCrowd   = "3-crowd"
	threeWork    = "3-8x1-1ms"
	threeLeases  = "3-leases"
)

// suits reports whether r has a turn.
func (w workload) suits(r rival) bool {
	return (w.only == "" || w.only == r.name) && (r.only == "" || r.only == w.name) && w.nodes == r.nodes
}

// of leaves the workload to one rival. redsync waits for each server that does not answer
// until its client gives up, in each lock and unlock.
func (w workload) of(rival string) workload {
	w.only = rival
	return w
}

func workloads() []workload {
	return []workload{
		race{clients: 1, goroutines: 1, distinct: true}.
			as(alone, "uncontended, 1 goroutine, 16 keys each"),
		race{clients: 1, goroutines: 256, distinct: true}.
			as(crowd, "uncontended, 256 goroutines, 16 keys each"),
		race{clients: 64, goroutines: 1}.
			as(oneKey64x1, "one key, 64 clients × 1 goroutine, no work"),
		race{clients: 8, goroutines: 8}.
			as(oneKey8x8, "one key, 8 clients × 8, no work"),
		race{clients: 8, goroutines: 8, work: time.Millisecond, stretch: 3}.
			as(oneKeyWork, "one key, 8 clients × 8, 1 ms of work"),
		{name: garbage, title: "memory allocated by a run", once: true, measure: measureAllocs},
		{name: manyLeases, title: "many leases held for long", only: nameGuard, once: true, measure: measureLeases},
		{name: leaving, title: "many runs that end at once", only: nameGuard, once: true, measure: shutdown(1)},
		{name: leaving3, title: "three times as many", only: nameGuard, once: true, measure: shutdown(3)},

		race{nodes: 3, clients: 1, goroutines: 1, distinct: true}.
			as(threeAlone, "three servers, uncontended, 1 goroutine"),
		race{nodes: 3, clients: 1, goroutines: 1, distinct: true, stopped: true}.
			as(threeStopped, "the same, one of them does not answer").of(nameQuorum),
		race{nodes: 3, clients: 1, goroutines: 64, distinct: true}.
			as(threeCrowd, "three servers, uncontended, 64 goroutines"),
		race{nodes: 3, clients: 8, goroutines: 1, work: time.Millisecond, stretch: 3}.
			as(threeWork, "three servers, one key, 8 clients, 1 ms of work"),
		{name: threeLeases, title: "leases over three servers", only: nameQuorum, nodes: 3, once: true, measure: measureLeases},
	}
}
