package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9/logging"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/cronwrap"
	"github.com/jobguard/jobguard/guard/journal"
	"github.com/jobguard/jobguard/guard/journal/sqllog"
	"github.com/jobguard/jobguard/guard/stop"
)

// branch is a replica that serves: orders over HTTP, tasks of asynq, ticks of cron and
// compensations, all under one guard.
type branch struct {
	*replica
	log        *slog.Logger
	telemetry  *telemetry
	journal    *journal.Journal
	endJournal func()
	server     *http.Server
	fulfilment *fulfilment
	ticks      *cronwrap.Runner
	runs       atomic.Int64 // work on SKUs that was begun
}

// open serves until ctx ends, and then ends in order.
func (r *replica) open(ctx context.Context) (err error) {
	logging.Disable() // the guard's words and asynq's are enough
	b := &branch{replica: r, log: newLog(os.Stderr, r.Verbose).With("replica", r.Name)}
	if b.telemetry, err = newTelemetry(); err != nil {
		return err
	}
	// otelguard comes first: what travels with a lease is the first observer's.
	closeRedis, err := r.protect(guard.Observe(b.telemetry.observer), guard.Observe(guard.LogObserver(b.log)), guard.Observe(watcher{say: r.say}))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.shutdown(closeRedis)) }()

	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	if b.fulfilment, err = b.fulfil(); err != nil {
		return err
	}
	if err := b.compensate(fail); err != nil {
		return err
	}
	if b.ticks, err = b.nightly(); err != nil {
		return err
	}
	if err := b.listen(fail); err != nil {
		return err
	}
	<-ctx.Done()
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}

// shutdown ends what was begun: first what takes work from outside, the guard after all
// that runs under it.
func (b *branch) shutdown(closeRedis func() error) error {
	steps := stop.New(4 * time.Second)
	if b.server != nil {
		steps.Add("http", b.server.Shutdown)
	}
	if b.fulfilment != nil {
		steps.Add("asynq", b.fulfilment.shutdown, stop.Budget(2*time.Second))
	}
	if b.ticks != nil {
		steps.Add("cron", b.ticks.Shutdown)
	}
	if b.endJournal != nil {
		steps.Add("journal", func(context.Context) error { b.endJournal(); return nil })
	}
	steps.Add("guard", b.guard.Shutdown)
	steps.Add("redis", func(context.Context) error { return closeRedis() })
	steps.Add("telemetry", b.telemetry.shutdown)
	return steps.Stop()
}

// compensate runs the journal on a goroutine that endJournal ends.
func (b *branch) compensate(fail context.CancelCauseFunc) error {
	log, err := sqllog.New(b.shop.db, b.shop.dialect)
	if err != nil {
		return err
	}
	const retain = 10 * time.Minute // nobody looks at older records here
	if b.journal, err = journal.New(b.guard.With(guard.Name("compensation")), log, journal.Retain(retain)); err != nil {
		return err
	}
	b.journal.Handle("sale", b.putBack)
	ctx, end := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := b.journal.Run(ctx); ctx.Err() == nil {
			fail(fmt.Errorf("the journal: %w", err))
		}
	})
	b.endJournal = func() {
		end()
		wg.Wait()
	}
	return nil
}

// listen opens the counter, on a goroutine that ends with the server.
func (b *branch) listen(fail context.CancelCauseFunc) error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("open the counter: %w", err)
	}
	b.server = &http.Server{Handler: b.counter(), ReadHeaderTimeout: 5 * time.Second}
	go func() {
		if err := b.server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			fail(fmt.Errorf("the counter: %w", err))
		}
	}()
	b.say(message{Kind: ready, Address: listener.Addr().String()})
	return nil
}
