package otelguard

import (
	"go.opentelemetry.io/otel/log"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"
)

// Option configures an [Observer].
type Option interface{ apply(*options) }

type option func(*options)

func (f option) apply(o *options) { f(o) }

type options struct {
	tracers trace.TracerProvider
	meters  metric.MeterProvider
	loggers log.LoggerProvider
	key     func(string) string
	names   []string
}

// WithTracerProvider has spans made by p; nil, the default, is the global provider.
func WithTracerProvider(p trace.TracerProvider) Option {
	return option(func(o *options) { o.tracers = p })
}

// WithMeterProvider has metrics recorded by p; nil, the default, is the global provider.
func WithMeterProvider(p metric.MeterProvider) Option {
	return option(func(o *options) { o.meters = p })
}

// WithLoggerProvider has log events emitted by p; nil, the default, is the global provider.
func WithLoggerProvider(p log.LoggerProvider) Option {
	return option(func(o *options) { o.loggers = p })
}

// WithKeyAttribute puts what f makes of each key on spans and log events:
// jobguard.key, or jobguard.keys on a run under several. By default no key leaves
// the process, as keys may say who the customer is. f may shorten or hash; ""
// leaves the key out, and so does a panic. It is called on the goroutine that runs,
// so it must be quick. Metrics never carry keys.
func WithKeyAttribute(f func(key string) string) Option {
	return option(func(o *options) { o.key = f })
}

// WithNames has the counters of these groups (guard.Name) exist, at 0, from the
// start; those of others begin at 0 when the group is first used.
func WithNames(names ...string) Option {
	return option(func(o *options) { o.names = append(o.names, names...) })
}
