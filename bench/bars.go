package main

import "math"

// bar is something that guard promises about its speed.
type bar struct {
	workload string
	text     string
	ours     string // whose value it is; "": guard's

	metric  metric
	of      func(sample) float64 // computed from several metrics, instead of metric
	against string               // the value is ours divided by this rival's; "": our own
	base    string               // against's workload; "": the same

	sense sense
	limit float64
	goal  float64 // beyond the limit; 0: none
}

type sense int

const (
	atLeast sense = iota
	atMost
)

func (s sense) holds(value, limit float64) bool {
	if s == atLeast {
		return value >= limit
	}
	return value <= limit
}

// theBest as bar.against is the rival, floor included, that is best at the
// bar's metric.
const theBest = "the best"

// bars are from before there was a library to measure.
var bars = []bar{
	{workload: alone, text: "throughput ≥ 0.92 × floor, goal 1.0 ×", metric: rate, against: nameFloor, limit: 0.92, goal: 1},
	{workload: alone, text: "throughput ≥ 1.0 × redislock, goal 1.1 ×", metric: rate, against: nameRedislock, limit: 1, goal: 1.1},
	{workload: alone, text: "throughput ≥ 1.2 × rueidislock (majority 1), goal 1.3 ×", metric: rate, against: nameRueidislock1, limit: 1.2, goal: 1.3},
	{ours: nameAsync, workload: alone, text: "with AsyncRelease ≥ 1.15 × floor, goal 1.3 ×", metric: rate, against: nameFloor, limit: 1.15, goal: 1.3},
	{ours: nameJournal, workload: alone, text: "with a journal on the same Redis ≥ 0.3 × without, goal 0.45 ×", metric: rate, against: nameGuard, limit: 0.3, goal: 0.45},

	{workload: crowd, text: "throughput ≥ 1.2 × the best rival, goal 1.5 ×", metric: rate, against: theBest, limit: 1.2, goal: 1.5},
	{workload: crowd, text: "Redis' processor time of a run ≤ 9 µs, goal 7 µs", metric: redisCPU, sense: atMost, limit: 9e-6, goal: 7e-6},

	{workload: oneKey64x1, text: "throughput ≥ 8.5 × rueidislock (majority 1), goal 10 ×", metric: rate, against: nameRueidislock1, limit: 8.5, goal: 10},
	{workload: oneKey64x1, text: "p99 wait ≤ 2 × (64 / own throughput)", of: func(s sample) float64 { return s[waitP99] * s[rate] / 64 }, sense: atMost, limit: 2},
	{workload: oneKey64x1, text: "slowest worker ≥ 0.5 × fastest", metric: fairness, limit: 0.5},
	{workload: oneKey64x1, text: "Redis commands per handoff ≤ 1/5 of rueidislock's (majority 1)", metric: commands, against: nameRueidislock1, sense: atMost, limit: 0.2},

	{workload: oneKey8x8, text: "throughput ≥ 15 × the best rival, goal 25 ×", metric: rate, against: theBest, limit: 15, goal: 25},

	{workload: oneKeyWork, text: "throughput ≥ every rival's", metric: rate, against: theBest, limit: 1},
	{workload: oneKeyWork, text: "p99 wait ≤ 1/3 of the best rival's, goal 1/5", metric: waitP99, against: theBest, sense: atMost, limit: 1. / 3, goal: 1. / 5},
	{workload: oneKeyWork, text: "worst wait ≤ 1/5 of the best rival's, goal 1/10", metric: waitMax, against: theBest, sense: atMost, limit: 1. / 5, goal: 1. / 10},
	{workload: oneKeyWork, text: "slowest worker ≥ 0.7 × fastest", metric: fairness, limit: 0.7},

	{workload: garbage, text: "allocations of a `Do` ≤ 20, goal 15", metric: allocs, sense: atMost, limit: 20, goal: 15},

	{workload: manyLeases, text: "none lost", metric: leasesLost, sense: atMost, limit: 0},
	{workload: manyLeases, text: "0 goroutines per lease", metric: leaseGoroutines, sense: atMost, limit: 0.01},
	{workload: manyLeases, text: "≤ 1 KiB heap + stack per lease beyond the user's own", metric: leaseMemory, sense: atMost, limit: 1024},
	{workload: manyLeases, text: "p99 renewal lateness < 1 s", metric: leaseLateP99, sense: atMost, limit: 1},
	{workload: manyLeases, text: "Redis' processor time of a renewal ≤ 8 µs", metric: leaseRedisEach, sense: atMost, limit: 8e-6},
	{workload: manyLeases, text: "the client's processor time of a renewal ≤ 12 µs", metric: leaseClientEach, sense: atMost, limit: 12e-6},

	{ours: nameQuorum, workload: threeAlone, text: "throughput ≥ 1/1.15 × redsync over the same servers", metric: rate, against: nameRedsync3, limit: 1 / 1.15},
	{ours: nameQuorum, workload: threeStopped, text: "throughput ≥ 1/1.2 × that without the fault", metric: rate, against: nameQuorum, base: threeAlone, limit: 1 / 1.2},
	{ours: nameQuorum, workload: threeCrowd, text: "throughput ≥ 1.0 × redsync over the same servers", metric: rate, against: nameRedsync3, limit: 1},
	{ours: nameQuorum, workload: threeWork, text: "throughput ≥ redsync's over the same servers", metric: rate, against: nameRedsync3, limit: 1},
	{ours: nameQuorum, workload: threeWork, text: "p99 wait ≤ 1/3 of redsync's over the same servers", metric: waitP99, against: nameRedsync3, sense: atMost, limit: 1. / 3},
	{ours: nameQuorum, workload: threeLeases, text: "none lost", metric: leasesLost, sense: atMost, limit: 0},
	{ours: nameQuorum, workload: threeLeases, text: "0 goroutines per lease", metric: leaseGoroutines, sense: atMost, limit: 0.01},
	{ours: nameQuorum, workload: threeLeases, text: "≤ 3 KiB heap + stack per lease beyond the user's own", metric: leaseMemory, sense: atMost, limit: 3072},

	{workload: leaving, text: "all calls return within 3 s", metric: leavingTook, sense: atMost, limit: 3},
	{workload: leaving, text: "no call returns an error", metric: leavingErrors, sense: atMost, limit: 0},
	{workload: leaving3, text: "all calls return within 10 s", metric: leavingTook, sense: atMost, limit: 10},
	{workload: leaving3, text: "no call returns an error", metric: leavingErrors, sense: atMost, limit: 0},
}

// outcome is how a bar was met. The rounds say how sure that is.
type outcome struct {
	bar
	measured bool
	rival    string // what guard was compared with
	value    float64
	rounds   spread // of the value in single rounds
}

func (o outcome) met() bool     { return o.measured && o.sense.holds(o.value, o.limit) }
func (o outcome) goalMet() bool { return o.goal != 0 && o.measured && o.sense.holds(o.value, o.goal) }

func (b bar) judge(r *results) outcome {
	o := outcome{bar: b, rival: b.against}
	if b.against == theBest {
		o.rival = r.best(b.workload, b.metric, b.sense)
	}
	name := b.ours
	if name == "" {
		name = nameGuard
	}
	ours := r.of(b, name)
	s, ok := spreadOf(ours)
	if !ok {
		return o
	}
	if b.against == "" {
		o.measured, o.value, o.rounds = true, s.median, s
		return o
	}
	if b.base != "" {
		b.workload = b.base
	}
	theirs := r.of(b, o.rival)
	t, ok := spreadOf(theirs)
	if !ok {
		return o
	}
	o.measured, o.value = true, s.median/t.median
	ratios := make([]float64, min(len(ours), len(theirs)))
	for i := range ratios {
		ratios[i] = ours[i] / theirs[i]
	}
	o.rounds, _ = spreadOf(ratios) // not empty, as neither of the two is
	return o
}

// of are a rival's values of what b is about, by round.
func (r *results) of(b bar, rival string) []float64 {
	if b.of == nil {
		return r.values(b.workload, rival, b.metric)
	}
	var vs []float64
	for _, s := range r.samples[cell{b.workload, rival}] {
		vs = append(vs, b.of(s))
	}
	return vs
}

// best is the rival with the best median of m, "" if none was measured. What
// should be at least something is better when larger.
func (r *results) best(workload string, m metric, sense sense) string {
	best, value := "", math.NaN()
	for _, rival := range allRivals() {
		v, ok := r.median(workload, rival.name, m)
		if !ok || rival.ours() {
			continue
		}
		if best == "" || v != value && sense.holds(v, value) {
			best, value = rival.name, v
		}
	}
	return best
}
