package otelguard_test

import (
	"context"
	"testing"
	"time"

	"github.com/robfig/cron/v3"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/cronwrap"
	"github.com/jobguard/jobguard/guard/guardtest"
)

func TestTickOfACronJobIsOneTrace(t *testing.T) {
	tel := newTelemetry()
	c := cron.New(cron.WithSeconds())
	jobs, err := cronwrap.New(c, newGuard(t, guardtest.NewStore(), guard.Observe(tel)))
	if err != nil {
		t.Fatal(err)
	}
	ran := make(chan struct{}, 100)
	if _, err := jobs.Add("* * * * * *", "invoices", func(ctx context.Context) error {
		_, span := tel.tracer.Tracer("user").Start(ctx, "bill")
		span.End()
		ran <- struct{}{}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	c.Start()
	select {
	case <-ran:
	case <-time.After(patience):
		t.Fatal("the job never ran")
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := jobs.Shutdown(ctx); err != nil {
		t.Error(err)
	}
	acquire := tel.all("acquire invoices")[0]
	if got := attr(acquire, "jobguard.name").AsString(); got != "invoices" {
		t.Errorf("jobguard.name %q, want the job's", got)
	}
	if acquire.Parent.IsValid() {
		t.Errorf("the acquire has a parent: %v", acquire.Parent)
	}
	childOf(t, tel, childOf(t, tel, acquire, "run invoices"), "bill")
}
