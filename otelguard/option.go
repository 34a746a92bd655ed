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

// WithTracerProvider records spans with p; nil, the default, is the global provider.
func WithTracerProvider(p trace.TracerProvider) Option {
	return option(func(o *options) { o.tracers = p })
}

// WithMeterProvider records metrics with p; nil, the default, is the global provider.
func WithMeterProvider(p metric.MeterProvider) Option {
	return option(func(o *options) { o.meters = p })
}

// WithLoggerProvider emits log events with p; nil, the default, is the global provider.
func WithLoggerProvider(p log.LoggerProvider) Option {
	return option(func(o *options) { o.loggers = p })
}

// WithKeyAttribute puts what f returns for each key on spans and log events:
// jobguard.key, or jobguard.keys on a run under several. By default no key is
// recorded, as keys may identify a customer. f may shorten or hash; a key is left
// out if f returns "" or panics. f runs on the goroutine of the caller, so it must
// be quick. Metrics never contain keys.
func WithKeyAttribute(f func(key string) string) Option {
	return option(func(o *options) { o.key = f })
}

// WithNames creates the counters of these groups (guard.Name), at 0, in New; the
// counters of other groups are created at 0 when the group is first used.
func WithNames(names ...string) Option {
	return option(func(o *options) { o.names = append(o.names, names...) })
}
