package otelguard

import (
	"context"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/log"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/jobguard/jobguard/guard"
)

// scope names the instrumentation, as the conventions want: its import path.
const scope = "github.com/jobguard/jobguard/otelguard"

// Observer tells OpenTelemetry what guards do. It may serve any number of them.
type Observer struct {
	tracer trace.Tracer
	logger log.Logger
	key    func(string) string // nil: keys stay here

	instruments instruments
	groups      groups
}

var (
	_ guard.Observer = (*Observer)(nil)
	_ guard.Carrier  = (*Observer)(nil)
)

// New returns an Observer for guard.Observe. It starts nothing, and what it is
// given stays the caller's to shut down. An error of the meter's, such as an
// instrument that exists already with another unit, goes to otel.Handle. A nil
// Option panics.
func New(opts ...Option) *Observer {
	var with options
	for _, opt := range opts {
		if opt == nil {
			panic("otelguard: an Option is nil")
		}
		opt.apply(&with)
	}
	if with.tracers == nil {
		with.tracers = otel.GetTracerProvider()
	}
	if with.meters == nil {
		with.meters = otel.GetMeterProvider()
	}
	if with.loggers == nil {
		with.loggers = otel.GetLoggerProvider()
	}
	meter := with.meters.Meter(scope)
	o := &Observer{
		tracer:      with.tracers.Tracer(scope),
		logger:      with.loggers.Logger(scope),
		key:         with.key,
		instruments: newInstruments(meter),
	}
	_, err := meter.RegisterCallback(func(_ context.Context, to metric.Observer) error {
		o.groups.observe(to, &o.instruments)
		return nil
	}, o.instruments.runs, o.instruments.waiters)
	handle(err)
	for _, name := range with.names {
		o.groups.of(name, &o.instruments)
	}
	return o
}
