package otelguard

import (
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/log"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/journal/record"
)

// scope names the instrumentation, as the conventions want: its import path.
const scope = "github.com/jobguard/jobguard/otelguard"

// Observer records what guards do. It may serve any number of them.
type Observer struct {
	tracer trace.Tracer
	logger log.Logger
	key    func(string) string // nil: keys are not recorded

	instruments instruments
	groups      *table[string, *group] // by guard.Name
	journals    *journals
}

var (
	_ guard.Observer       = (*Observer)(nil)
	_ guard.MetadataSource = (*Observer)(nil)
	_ record.Watcher       = (*Observer)(nil)
)

// New returns an Observer for guard.Observe. It starts nothing; the caller shuts the
// providers down. Make one for the program: the meter keeps a callback of each
// Observer for as long as its provider lives. Errors of the meter, such as an
// instrument that exists already with another unit, go to otel.Handle. A nil Option
// panics.
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
	meter := with.meters.Meter(scope, metric.WithInstrumentationVersion(version()), metric.WithSchemaURL(semconv.SchemaURL))
	o := &Observer{
		tracer:      with.tracers.Tracer(scope, trace.WithInstrumentationVersion(version()), trace.WithSchemaURL(semconv.SchemaURL)),
		logger:      with.loggers.Logger(scope, log.WithInstrumentationVersion(version()), log.WithSchemaURL(semconv.SchemaURL)),
		key:         with.key,
		instruments: newInstruments(meter),
	}
	o.groups = newTable(maxGroups, otherError, func(name string) *group { return newGroup(name, &o.instruments) })
	o.journals = newJournals(&o.instruments)
	_, err := meter.RegisterCallback(o.observe, o.instruments.runs, o.instruments.waiters)
	handle(err)
	_, err = meter.RegisterCallback(o.observeJournals, o.instruments.open, o.instruments.openLimit, o.instruments.dead, o.instruments.oldest)
	handle(err)
	for _, name := range with.names {
		o.groups.of(name)
	}
	return o
}
