package main

import (
	"context"
	"fmt"

	"github.com/robfig/cron/v3"

	"github.com/jobguard/jobguard/guard/cronwrap"
)

// everyTick stands for every night.
const everyTick = "*/3 * * * * *"

// nightly starts the reconciliation, whose ticks each run once in all replicas.
func (b *branch) nightly() (*cronwrap.Runner, error) {
	c := cron.New(cron.WithSeconds())
	jobs, err := cronwrap.New(c, b.guard, cronwrap.OnError(func(e *cronwrap.Error) {
		b.log.Warn("tick", "error", e)
	}))
	if err != nil {
		return nil, err
	}
	if _, err := jobs.Add(everyTick, "reconciliation", b.reconcile); err != nil {
		return nil, fmt.Errorf("add the reconciliation: %w", err)
	}
	c.Start()
	return jobs, nil
}

// reconcile looks whether the books agree, and enqueues what was paid and, as its
// replica died in between, never enqueued.
func (b *branch) reconcile(ctx context.Context) error {
	off, err := b.shop.reconcile(ctx, cronwrap.Tick(ctx), b.Name)
	if err != nil {
		return err
	}
	b.log.InfoContext(ctx, "reconciled", "tick", cronwrap.Tick(ctx), "off", off)
	orders, err := b.shop.unsent(ctx, 20)
	if err != nil {
		return err
	}
	for _, o := range orders {
		if err := b.shipLater(ctx, o); err != nil {
			return err
		}
	}
	return nil
}
