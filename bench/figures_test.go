package main

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestQuantilesAreCloseToTheSortedTruth(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var h, halves histogram
	var all []time.Duration
	for i := range 10_000 {
		d := time.Duration(math.Exp2(random.Float64() * 40)) // from a nanosecond to 18 minutes
		all = append(all, d)
		if i%2 == 0 {
			h.add(d)
		} else {
			halves.add(d)
		}
	}
	h.merge(&halves)
	slices.Sort(all)
	for _, q := range []float64{0.0001, 0.01, 0.5, 0.9, 0.99, 1} {
		got, want := h.quantile(q), all[int(q*float64(len(all)))-1]
		if off := float64(got-want) / float64(want); off < 0 || off > 1./fine {
			t.Errorf("quantile %v is %v, should be %v", q, got, want)
		}
	}
	if h.max != all[len(all)-1] {
		t.Errorf("max is %v, should be %v", h.max, all[len(all)-1])
	}
	if q := new(histogram).quantile(0.5); q != 0 {
		t.Errorf("the median of nothing is %v", q)
	}
	h.add(time.Hour * 24 * 365) // falls into the last bucket
}

func TestBarsCompareMediansWithTheBestRival(t *testing.T) {
	r := newResults()
	put := func(who string, m metric, values ...float64) {
		for i, v := range values {
			at := cell{oneKeyWork, who}
			if i == len(r.samples[at]) {
				r.samples[at] = append(r.samples[at], sample{})
			}
			r.samples[at][i][m] = v
		}
	}
	put(nameGuard, rate, 900, 850, 100) // one bad round
	put(nameFloor, rate, 500, 600, 550)
	put(nameRedislock, rate, 800, 780, 790)
	put(nameGuard, waitP99, 0.1, 0.1, 0.1)
	put(nameFloor, waitP99, 1, 1, 1)
	put(nameRedislock, waitP99, 0.4, 0.4, 0.4)

	throughput := bar{workload: oneKeyWork, metric: rate, against: theBest, limit: 1}
	o := throughput.judge(r)
	if o.rival != nameRedislock || o.value != 850./790 || !o.met() || o.rounds.min != 100./790 {
		t.Errorf("throughput: %+v", o)
	}
	p99 := bar{workload: oneKeyWork, metric: waitP99, against: theBest, sense: atMost, limit: 1. / 3, goal: 1. / 5}
	if o := p99.judge(r); o.rival != nameRedislock || o.value != 0.25 || o.verdict() != "met, goal not" {
		t.Errorf("p99: %+v, %s", o, o.verdict())
	}
	p99.limit = 0.2
	if o := p99.judge(r); o.verdict() != "**NOT met**" {
		t.Errorf("p99: %+v, %s", o, o.verdict())
	}
	product := bar{workload: oneKeyWork, of: func(s sample) float64 { return s[waitP99] * s[rate] }, sense: atMost, limit: 85}
	if o := product.judge(r); o.value != 85 || !o.met() {
		t.Errorf("product: %+v", o)
	}
	if o := (bar{workload: alone, metric: rate, against: theBest}).judge(r); o.measured || o.met() {
		t.Errorf("nothing was measured, and the outcome is %+v", o)
	}
}

func TestEveryBarIsAboutSomethingMeasured(t *testing.T) {
	names := make(map[string]bool)
	for _, w := range workloads() {
		names[w.name] = true
	}
	for _, r := range allRivals() {
		names[r.name] = true
	}
	names[""], names[theBest] = true, true
	for _, b := range bars {
		if !names[b.workload] || !names[b.against] || (b.metric == "") == (b.of == nil) {
			t.Errorf("%q refers to what is not there", b.text)
		}
	}
}

func TestFiguresCanBeRead(t *testing.T) {
	for v, want := range map[float64]string{
		0: "0", 0.00012: "0.00012", 0.5: "0.50", 1.234: "1.23", 12.34: "12.3", 123.4: "123", 1234: "1 234", 1234567: "1 234 567", -1234: "-1 234",
	} {
		if got := figure(v); got != want {
			t.Errorf("figure(%v) = %q, want %q", v, got, want)
		}
	}
	for v, want := range map[float64]string{0: "0", 12.3e-6: "12.3 µs", 1.5e-3: "1.50 ms", 0.25: "250 ms", 90: "90.0 s"} {
		if got := seconds(v); got != want {
			t.Errorf("seconds(%v) = %q, want %q", v, got, want)
		}
	}
}

func TestTableLinesUp(t *testing.T) {
	var tab table
	tab.row("wait", "who")
	tab.row("1 µs", "guard")
	tab.row("100 µs", "")
	lines := strings.Split(strings.TrimSpace(tab.String()), "\n")
	if len(lines) != 4 || lines[1] != "| ------ | ----- |" {
		t.Errorf("%q", lines)
	}
	for _, l := range lines {
		if len([]rune(l)) != len([]rune(lines[0])) {
			t.Errorf("lines differ in length:\n%s", tab.String())
		}
	}
}

func TestGateNamesTheBarsThatWereMissed(t *testing.T) {
	r := newResults()
	r.samples[cell{manyLeases, nameGuard}] = []sample{{leasesLost: 0, leaseGoroutines: 0, leaseMemory: 2000, leaseLateP99: 0}}
	list, err := gate(r)
	if err == nil || !strings.Contains(err.Error(), "≤ 1 KiB") || strings.Contains(err.Error(), "none lost") || strings.Contains(err.Error(), "floor") {
		t.Errorf("gate() = %v, want an error that names the bytes of a lease alone", err)
	}
	if !strings.Contains(list, "not measured") || !strings.Contains(list, "**NOT met**") {
		t.Error(list)
	}
	r.samples[cell{manyLeases, nameGuard}][0][leaseMemory] = 900
	if _, err := gate(r); err != nil {
		t.Error(err)
	}
}
