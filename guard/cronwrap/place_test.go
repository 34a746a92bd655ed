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

func TestEarlierTickThatComesLateDoesNotTakeThePlaceOfALaterOne(t *testing.T) {
	j := newTestJob(t, Overlap(Wait))
	later, earlier := j.arrive(time.Unix(20, 0)), j.arrive(time.Unix(10, 0))
	defer later.leave()
	defer earlier.leave()
	if !later.standInLine(lease.Tick{}) || earlier.standInLine(lease.Tick{}) || later.ctx.Err() != nil {
		t.Error("the later tick lost its place")
	}
}

// The key can be granted just when the place is called off.
func TestPlaceThatWasCalledOffDoesNotBegin(t *testing.T) {
	for name, callOff := range map[string]func(p *place){
		"by a later tick": func(p *place) {
			p.job.mu.Lock()
			defer p.job.mu.Unlock()
			p.callOffLocked(errSuperseded)
		},
		"by Shutdown": func(p *place) { p.job.close() },
	} {
		t.Run(name, func(t *testing.T) {
			p := newTestJob(t).arrive(time.Now())
			defer p.leave()
			callOff(p)
			if p.begin() {
				t.Error("it begins")
			}
		})
	}
}
