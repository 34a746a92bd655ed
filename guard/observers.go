package guard

import (
	"context"
	"log/slog"
	"slices"

	"github.com/jobguard/jobguard/internal/panics"
)

// observers calls each, in the order given; the Ends in reverse, as befits
// contexts that wrap each other.
type observers []Observer

func (os *observers) acquireStart(ctx context.Context, a AcquireStart) (context.Context, *observers) {
	return os.start(ctx, func(o Observer, ctx context.Context) context.Context { return o.AcquireStart(ctx, a) })
}

func (os *observers) acquireEnd(ctx context.Context, a AcquireEnd) {
	for _, o := range slices.Backward(*os) {
		shield(func() { o.AcquireEnd(ctx, a) })
	}
}

func (os *observers) runStart(ctx context.Context, r RunStart) (context.Context, *observers) {
	return os.start(ctx, func(o Observer, ctx context.Context) context.Context { return o.RunStart(ctx, r) })
}

func (os *observers) runEnd(ctx context.Context, r RunEnd) {
	for _, o := range slices.Backward(*os) {
		shield(func() { o.RunEnd(ctx, r) })
	}
}

func (os *observers) event(ctx context.Context, e Event) {
	for _, o := range *os {
		shield(func() { o.Event(ctx, e) })
	}
}

// metadata returns the first text that an observer wants to send, and may.
func (os *observers) metadata(ctx context.Context) (text string) {
	for _, o := range *os {
		if c, ok := o.(MetadataSource); ok && text == "" {
			shield(func() { text = c.Metadata(ctx) })
		}
	}
	return text
}

// start returns the context that all made of ctx, and the observers for the rest:
// without those that panicked, which would take the end for that of something else.
func (os *observers) start(ctx context.Context, f func(Observer, context.Context) context.Context) (context.Context, *observers) {
	sound := os
	for i, o := range *os {
		ok := shield(func() {
			if c := f(o, ctx); c != nil {
				ctx = c
			}
		})
		switch {
		case !ok && sound == os:
			rest := slices.Clone((*os)[:i])
			sound = &rest
		case ok && sound != os:
			*sound = append(*sound, o)
		}
	}
	return ctx, sound
}

// shield keeps an observer's panic from the run it observes, and reports whether
// there was none.
func shield(f func()) (sound bool) {
	p := panics.Catch(f)
	if p != nil {
		slog.Error("guard: an Observer panicked", "panic", p.Value, "at", p.At)
	}
	return p == nil
}
