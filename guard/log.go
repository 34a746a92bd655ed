package guard

import (
	"context"
	"errors"
	"log/slog"
)

// LogObserver returns an Observer that writes to l: losses, failed releases and a
// store that could not be asked at level Warn, failed renewals and other refusals at
// Info, the rest at Debug.
// Keys and holders are in the records.
func LogObserver(l *slog.Logger) Observer {
	if l == nil {
		panic("guard: LogObserver of a nil Logger")
	}
	return logObserver{Logger: l}
}

type logObserver struct {
	ObserverDefaults
	*slog.Logger
}

func (l logObserver) AcquireEnd(ctx context.Context, a AcquireEnd) {
	attrs := []slog.Attr{
		slog.String("name", a.Name), slog.String("key", a.Key),
		slog.Duration("waited", a.Waited), slog.Int("attempts", a.Attempts),
	}
	if a.Err == nil {
		l.LogAttrs(ctx, slog.LevelDebug, "guard: acquired", append(attrs, slog.Int64("fence", a.Fence))...)
		return
	}
	level := slog.LevelInfo
	if errors.Is(a.Err, ErrUnavailable) {
		level = slog.LevelWarn
	}
	l.LogAttrs(ctx, level, "guard: not acquired",
		append(attrs, slog.String("holder", a.Holder), slog.Any("error", a.Err))...)
}

func (l logObserver) RunEnd(ctx context.Context, r RunEnd) {
	l.LogAttrs(ctx, slog.LevelDebug, "guard: released",
		slog.String("name", r.Name), slog.Any("keys", r.Keys), slog.Duration("held", r.Held),
		slog.Int("renewals", r.Renewals), slog.Bool("panicked", r.Panicked), slog.Any("error", r.Err))
}

func (l logObserver) Event(ctx context.Context, e Event) {
	level := slog.LevelDebug
	switch e.Kind {
	case EventLost, EventReleaseFailed:
		level = slog.LevelWarn
	case EventRenewFailed:
		level = slog.LevelInfo
	case EventRenewed:
	}
	attrs := []slog.Attr{slog.String("name", e.Name), slog.String("key", e.Key), slog.Int64("fence", e.Fence)}
	if e.Kind == EventRenewed {
		attrs = append(attrs, slog.Duration("left", e.Left))
	} else {
		attrs = append(attrs, slog.String("holder", e.Holder), slog.Any("error", e.Err))
	}
	l.LogAttrs(ctx, level, "guard: "+e.Kind.String(), attrs...)
}
