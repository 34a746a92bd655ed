package main

import (
	"context"
	"fmt"
	"time"
)

// run measures everything in p. Within a round every rival has its turn, so
// that a noisy minute meets all of them. tell is called with each line of progress.
func (p plan) run(ctx context.Context, tell func(line string)) (*results, error) {
	r := newResults()
	began := time.Now()
	for round := range p.rounds {
		for _, w := range p.workloads {
			if w.once && round > 0 {
				continue
			}
			for _, rival := range p.rivals {
				if !w.suits(rival) {
					continue
				}
				s, err := w.measure(ctx, p, rival)
				if ctx.Err() != nil {
					return nil, fmt.Errorf("interrupted: %w", context.Cause(ctx))
				}
				if err := r.record(w.name, rival.name, s, err); err != nil {
					return nil, err
				}
				tell(fmt.Sprintf("%4.0fs  round %d/%d  %-8s %-14s %s",
					time.Since(began).Seconds(), round+1, p.rounds, w.name, rival.name, brief(s)))
			}
		}
	}
	return r, nil
}

// brief is the one figure of s that progress shows.
func brief(s sample) string {
	for _, m := range []metric{rate, allocs, leaseMemory, leavingTook} {
		if v, ok := s[m]; ok {
			return figure(v) + " " + string(m)
		}
	}
	return ""
}
