package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/hibiken/asynq"
	"go.opentelemetry.io/otel/propagation"

	"github.com/jobguard/jobguard/guard/asynqmw"
)

const (
	shipTask = "order:ship"
	packing  = 50 * time.Millisecond
)

// fulfilment ships orders: an asynq server, one run at a time of each order.
type fulfilment struct {
	server     *asynq.Server
	middleware *asynqmw.Middleware
	client     *asynq.Client
}

// fulfil starts it. Its goroutines are the server's, and end with shutdown.
func (b *branch) fulfil() (f *fulfilment, err error) {
	conn := asynq.RedisClientOpt{Addr: b.Redis}
	f = &fulfilment{client: asynq.NewClient(conn)}
	f.middleware, err = asynqmw.New(b.guard, orderKey, asynqmw.WithRedis(conn))
	if err != nil {
		return nil, errors.Join(err, f.client.Close())
	}
	f.server = asynq.NewServer(conn, f.middleware.Config(asynq.Config{
		Concurrency: 4, Queues: map[string]int{b.Queue: 1}, ShutdownTimeout: time.Second, Logger: asynqLog{b.log},
	}))
	mux := asynq.NewServeMux()
	mux.Use(f.middleware.Handler)
	mux.HandleFunc(shipTask, b.ship)
	if err := f.server.Start(mux); err != nil {
		return nil, errors.Join(fmt.Errorf("start the asynq server: %w", err), f.close())
	}
	return f, nil
}

var orderKey = asynqmw.Join(asynqmw.PayloadField("sku"), asynqmw.PayloadField("buyer"))

func (f *fulfilment) close() error { return errors.Join(f.middleware.Close(), f.client.Close()) }

// shutdown takes no more than the server's ShutdownTimeout, whatever the context says.
func (f *fulfilment) shutdown(context.Context) error {
	f.server.Shutdown()
	return f.close()
}

// shipLater enqueues an order, once: its task has the order's name. The trace goes on
// in whatever replica ships it.
func (b *branch) shipLater(ctx context.Context, o order) error {
	payload, err := json.Marshal(o)
	if err != nil {
		return err
	}
	trace := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, trace)
	_, err = b.fulfilment.client.EnqueueContext(ctx, asynq.NewTaskWithHeaders(shipTask, payload, trace),
		asynq.Queue(b.Queue), asynq.TaskID(fmt.Sprintf("%s/%d", o.SKU, o.Buyer)))
	if errors.Is(err, asynq.ErrTaskIDConflict) {
		return nil // it is on its way
	}
	if err != nil { // the order stands: the next reconciliation finds it
		b.log.WarnContext(ctx, "not enqueued", "sku", o.SKU, "buyer", o.Buyer, "error", err)
	}
	return nil
}

// ship is the handler of a task, under the order's key.
func (b *branch) ship(ctx context.Context, task *asynq.Task) error {
	ctx = propagation.TraceContext{}.Extract(ctx, propagation.MapCarrier(task.Headers()))
	ctx, span := b.telemetry.tracer.Start(ctx, shipTask)
	defer span.End()
	var o order
	if err := json.Unmarshal(task.Payload(), &o); err != nil {
		return fmt.Errorf("%w: %w", asynq.SkipRetry, err)
	}
	if err := pause(ctx, packing); err != nil {
		return err
	}
	sent, err := b.shop.ship(ctx, o.SKU, o.Buyer)
	if err != nil {
		return err
	}
	b.log.DebugContext(ctx, "shipped", "sku", o.SKU, "buyer", o.Buyer, "sent", sent)
	return nil
}
