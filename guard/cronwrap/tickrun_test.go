package cronwrap

import (
	"context"
	"testing"
	"time"

	"github.com/robfig/cron/v3"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
	"github.com/jobguard/jobguard/guard/lease"
)

func newTestJob(t *testing.T, opts ...JobOption) *job {
	t.Helper()
	g, err := guard.New(guardtest.NewStore())
	if err != nil {
		t.Fatal(err)
	}
	r := New(cron.New(cron.WithLocation(time.UTC)), g)
	if _, err := r.Add("@every 10s", "report", func(context.Context) error { return nil }, opts...); err != nil {
		t.Fatal(err)
	}
	return r.jobs["report"]
}

func TestEarlierTickThatComesLateDoesNotReplaceALaterOne(t *testing.T) {
	j := newTestJob(t, Overlap(Wait))
	later, earlier := j.newTickRun(time.Unix(20, 0)), j.newTickRun(time.Unix(10, 0))
	defer later.remove()
	defer earlier.remove()
	if !later.joinQueue(lease.Tick{}) || earlier.joinQueue(lease.Tick{}) || later.ctx.Err() != nil {
		t.Error("the later tick lost its place")
	}
}

// The key can be granted just when the tick is cancelled.
func TestTickThatWasCancelledDoesNotBegin(t *testing.T) {
	for name, cancel := range map[string]func(p *tickRun){
		"by a later tick": func(p *tickRun) {
			p.job.mu.Lock()
			defer p.job.mu.Unlock()
			p.cancelLocked(errSuperseded)
		},
		"by Shutdown": func(p *tickRun) { p.job.close() },
	} {
		t.Run(name, func(t *testing.T) {
			p := newTestJob(t).newTickRun(time.Now())
			defer p.remove()
			cancel(p)
			if p.begin() {
				t.Error("it begins")
			}
		})
	}
}
