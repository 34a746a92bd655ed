package main

import (
	"fmt"
	"strings"
)

// report is everything that was found, in Markdown, the comparison first.
func report(m machine, p plan, r *results) string {
	var b strings.Builder
	b.WriteString("# Results\n\nguard and its rivals side by side, in one run. Written by `go run ./bench`; not to be edited.\n")
	for _, err := range r.breaks {
		fmt.Fprintf(&b, "\n**BROKEN:** %v\n", err)
	}
	if t := racesTable(p, r); len(t.rows) > 1 {
		b.WriteString("\n## Throughput and waiting\n\n" + t.String())
		b.WriteString("\nMedians of the rounds, in brackets the least and the most. A run is one acquire, function and release; " +
			"its wait is from the call to the function's start. A wait that the end cut short counts with what it had lasted, so none can seem longer than a measurement: " +
			"short ones flatter locks that let some callers starve, and a worker's share is rough in them. " +
			"Commands are those of INFO's total_commands_processed, which counts what scripts call.\n")
	}
	if t := allocsTable(p, r); len(t.rows) > 1 {
		b.WriteString("\n## Memory allocated by a run without contention\n\n" + t.String())
	}
	if t := leasesTables(p, r); t != "" {
		b.WriteString("\n## Many leases\n\n" + t)
		b.WriteString("\nBytes are those beyond the user's own: of the same goroutines, parked in the same function without a guard, which are subtracted. " +
			"All had used 8 KiB of stack before. The runtime keeps stacks in powers of two and halves one only if less than a quarter is in use. " +
			"The observer that these figures come from is included.\n")
	}
	if t := leavingTable(p, r); len(t.rows) > 1 {
		b.WriteString("\n## Many runs that end at once\n\n" + t.String())
		b.WriteString("\nPING is sent by another process every millisecond. It competes for the machine's cores, too.\n")
	}
	b.WriteString("\n## How it was measured\n\n")
	fmt.Fprintf(&b, "%s. %s, %s, Redis %s on loopback, %s. Load before the run: %s.\n",
		m.date, m.cpu, m.system, m.redis, m.versions["go"], m.load)
	fmt.Fprintf(&b, "%d rounds; the rivals take turns in each. A measurement takes %v (with work, 3 times that) after %v of warming up, on a fresh server.%s\n",
		p.rounds, p.duration, p.warmup, retryNote(p))
	fmt.Fprintf(&b, "go-redis is %s. Every client has a connection pool of its own, as a process would.\n\n", m.version("github.com/redis/go-redis/v9"))
	b.WriteString(rivalsTable(m, p).String())
	return b.String()
}

// gate lists how each bar was met, and returns an error that names those that
// were measured and missed.
func gate(r *results) (list string, _ error) {
	var missed []string
	for _, b := range bars {
		if o := b.judge(r); o.measured && !o.met() {
			missed = append(missed, b.workload+": "+b.text)
		}
	}
	list = barsTable(r).String() + "A value is the ratio of medians, in brackets what single rounds gave. `floor` counts among the rivals.\n"
	if missed != nil {
		return list, fmt.Errorf("bars missed: %s", strings.Join(missed, "; "))
	}
	return list, nil
}

func retryNote(p plan) string {
	if p.retry == 0 {
		return ""
	}
	return fmt.Sprintf(" Rivals that poll pause for %v, whatever it says below.", p.retry)
}

func barsTable(r *results) *table {
	t := &table{}
	t.row("workload", "bar", "measured", "against", "")
	for _, b := range bars {
		o := b.judge(r)
		if !o.measured {
			t.row(b.workload, b.text, "–", "", "not measured")
			continue
		}
		value := o.figure(o.value)
		if o.rounds.min != o.rounds.max {
			value += " [" + o.figure(o.rounds.min) + " … " + o.figure(o.rounds.max) + "]"
		}
		t.row(b.workload, b.text, value, o.rival, o.verdict())
	}
	return t
}

func (o outcome) figure(v float64) string {
	switch {
	case o.against != "":
		return figure(v) + " ×"
	case o.metric == leaseLateP99, o.metric == leavingTook, o.metric == redisCPU, o.metric == leaseRedisEach, o.metric == leaseClientEach:
		return seconds(v)
	default:
		return figure(v)
	}
}

func (o outcome) verdict() string {
	switch {
	case !o.met():
		return "**NOT met**"
	case o.goalMet():
		return "met, goal too"
	case o.goal != 0:
		return "met, goal not"
	default:
		return "met"
	}
}

func racesTable(p plan, r *results) *table {
	t := &table{}
	t.row("workload", "who", "runs/s", "wait p50", "wait p99", "worst wait", "slowest/fastest", "commands/run", "Redis CPU/run", "failed")
	for _, w := range p.workloads {
		title := w.title
		for _, rival := range p.rivals {
			get := func(m metric, write func(float64) string) string { return r.show(w.name, rival.name, m, write) }
			if get(rate, figure) == "" {
				continue
			}
			median := func(m metric, write func(float64) string) string {
				v, ok := r.median(w.name, rival.name, m)
				if !ok {
					return "–"
				}
				return write(v)
			}
			t.row(title, rival.name, get(rate, figure), median(waitP50, seconds), get(waitP99, seconds), get(waitMax, seconds),
				median(fairness, figure), median(commands, figure), median(redisCPU, seconds), median(failures, figure))
			title = ""
		}
	}
	return t
}

// show writes a cell's median, and least and most if they differ.
func (r *results) show(workload, rival string, m metric, write func(float64) string) string {
	s, ok := spreadOf(r.values(workload, rival, m))
	switch {
	case !ok:
		return ""
	case s.min == s.max:
		return write(s.median)
	}
	return fmt.Sprintf("%s [%s … %s]", write(s.median), write(s.min), write(s.max))
}

func allocsTable(p plan, r *results) *table {
	t := &table{}
	t.row("who", "allocations", "bytes")
	for _, rival := range p.rivals {
		if n := r.show(garbage, rival.name, allocs, figure); n != "" {
			t.row(rival.name, n, r.show(garbage, rival.name, allocated, figure))
		}
	}
	return t
}

// leasesTables are of one server, and of three.
func leasesTables(p plan, r *results) (text string) {
	if samples := r.samples[cell{manyLeases, nameGuard}]; samples != nil {
		text = leasesTable(p, samples[0]).String()
	}
	if samples := r.samples[cell{threeLeases, nameQuorum}]; samples != nil {
		text += "\nOver three servers, of which the figures about Redis are one's:\n\n" + leasesTable(p, samples[0]).String()
	}
	return strings.TrimPrefix(text, "\n")
}

func leasesTable(p plan, s sample) *table {
	t := &table{}
	t.row("held", fmt.Sprintf("%s leases with a TTL of %v, for %v", figure(s[leasesHeld]), p.leaseTTL, p.leaseHold))
	t.row("lost", figure(s[leasesLost]))
	t.row("goroutines for a lease", fmt.Sprintf("%s; at the busiest moment %s more in all", figure(s[leaseGoroutines]), figure(s[leaseBusiest])))
	t.row("bytes for a lease", fmt.Sprintf("%s (heap %s, stack %s)", figure(s[leaseMemory]), figure(s[leaseHeap]), figure(s[leaseStack])))
	t.row("bytes for a lease in Redis", figure(s[leaseRedisBytes]))
	t.row("lateness of renewals", fmt.Sprintf("p99 %s, worst %s", seconds(s[leaseLateP99]), seconds(s[leaseLateMax])))
	t.row("renewals a second", figure(s[leaseRenewals]))
	t.row("Redis CPU share", fmt.Sprintf("%.1f %% of a core", 100*s[leaseRedisCPU]))
	t.row("processor time of a renewal", fmt.Sprintf("Redis %s, client %s", seconds(s[leaseRedisEach]), seconds(s[leaseClientEach])))
	t.row("grants a second while they were taken", figure(s[leaseGrants]))
	return t
}

func leavingTable(p plan, r *results) *table {
	t := &table{}
	t.row("leases", "TTL", "all calls returned after", "errors", "Redis CPU share", "PING p99", "worst PING")
	for _, name := range []string{leaving, leaving3} {
		for _, s := range r.samples[cell{name, nameGuard}] {
			t.row(figure(s[leasesHeld]), p.leaseTTL.String(), seconds(s[leavingTook]), figure(s[leavingErrors]),
				fmt.Sprintf("%.0f %% of a core", 100*s[leavingCPU]), seconds(s[leavingPingP99]), seconds(s[leavingPingMax]))
		}
	}
	return t
}

func rivalsTable(m machine, p plan) *table {
	t := &table{}
	t.row("who", "version", "set up")
	for _, rival := range p.rivals {
		version := ""
		if rival.module != "" {
			version = m.version(rival.module)
		}
		t.row(rival.name, version, rival.setup)
	}
	return t
}
