package otelguard_test

import (
	"context"
	"sync"

	"go.opentelemetry.io/otel/attribute"
	sdklog "go.opentelemetry.io/otel/sdk/log"
)

// records is a log exporter that remembers.
type records struct {
	mu   sync.Mutex
	all  []sdklog.Record
	late int // came with a context that had ended
}

func (r *records) provider() *sdklog.LoggerProvider {
	return sdklog.NewLoggerProvider(sdklog.WithProcessor(sdklog.NewSimpleProcessor(r)))
}

func (r *records) Export(ctx context.Context, recs []sdklog.Record) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if ctx.Err() != nil {
		r.late++
	}
	for i := range recs {
		r.all = append(r.all, recs[i].Clone())
	}
	return nil
}

func (*records) Shutdown(context.Context) error   { return nil }
func (*records) ForceFlush(context.Context) error { return nil }

// of returns the records of one event.
func (r *records) of(event string) (found []sdklog.Record) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.all {
		if r.all[i].EventName() == event {
			found = append(found, r.all[i])
		}
	}
	return found
}

// logAttr returns an attribute of a record as text, "" if it has none of that key.
func logAttr(r *sdklog.Record, key attribute.Key) (text string) {
	r.WalkAttributes(func(kv attribute.KeyValue) bool {
		if kv.Key == key {
			text = kv.Value.String()
		}
		return true
	})
	return text
}
