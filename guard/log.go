package guard

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"
)

// LogObserver returns an Observer that writes to l: losses, failed releases and a
// store that could not be asked at level Warn; failed renewals, other refusals, and runs that were
// told to stop or outlasted [MaxHold], at Info; the rest at Debug.
// Keys and holders are in the records.
//
// Each loss is written, with its reason. What an outage of the store repeats (failed
// acquires, renewals and releases) is written at once and then at most every 10 s for
// each message and [Name]; the attribute left_out is the number of records since the
// last one that were not written.
func LogObserver(l *slog.Logger) Observer {
	if l == nil {
		panic("guard: LogObserver of a nil Logger")
	}
	return &logObserver{Logger: l, repeats: repeats{of: make(map[repeated]*repeat)}}
}

type logObserver struct {
	ObserverDefaults
	*slog.Logger
	repeats repeats
}

func (l *logObserver) AcquireEnd(ctx context.Context, a AcquireEnd) {
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
	attrs = append(attrs, slog.String("holder", a.Holder), slog.Any("error", a.Err))
	if level == slog.LevelWarn {
		l.sampled(ctx, level, "guard: not acquired", a.Name, attrs)
		return
	}
	l.LogAttrs(ctx, level, "guard: not acquired", attrs...)
}

func (l *logObserver) RunEnd(ctx context.Context, r RunEnd) {
	level, text := slog.LevelDebug, "guard: ended"
	if errors.Is(r.Err, ErrRevoked) || errors.Is(r.Err, ErrReplaced) || errors.Is(r.Err, ErrMaxHold) {
		level, text = slog.LevelInfo, "guard: stopped"
	}
	l.LogAttrs(ctx, level, text,
		slog.String("name", r.Name), slog.Any("keys", r.Keys), slog.Duration("held", r.Held),
		slog.Int("renewals", r.Renewals), slog.Bool("panicked", r.Panicked),
		slog.String("release", string(r.Release)), slog.Any("error", r.Err))
}

func (l *logObserver) Event(ctx context.Context, e Event) {
	attrs := []slog.Attr{slog.String("name", e.Name), slog.String("key", e.Key), slog.Int64("fence", e.Fence)}
	if e.Kind == EventRenewed {
		l.LogAttrs(ctx, slog.LevelDebug, "guard: renewed", append(attrs, slog.Duration("left", e.Left))...)
		return
	}
	if e.Kind == EventLost {
		attrs = append(attrs, slog.String("reason", string(e.Reason)))
	}
	attrs = append(attrs, slog.String("holder", e.Holder), slog.Any("error", e.Err))
	text := "guard: " + e.Kind.String()
	switch e.Kind {
	case EventLost:
		l.LogAttrs(ctx, slog.LevelWarn, text, attrs...)
	case EventReleaseFailed:
		l.sampled(ctx, slog.LevelWarn, text, e.Name, attrs)
	case EventRenewFailed:
		l.sampled(ctx, slog.LevelInfo, text, e.Name, attrs)
	case EventRenewed:
	}
}

// sampled writes a record that an outage repeats.
func (l *logObserver) sampled(ctx context.Context, level slog.Level, text, name string, attrs []slog.Attr) {
	if !l.Enabled(ctx, level) {
		return
	}
	leftOut, due := l.repeats.due(repeated{text, name}, time.Now())
	if !due {
		return
	}
	if leftOut > 0 {
		attrs = append(attrs, slog.Int("left_out", leftOut))
	}
	l.LogAttrs(ctx, level, text, attrs...)
}

// repeatEvery is the least time between two records of one kind.
const repeatEvery = 10 * time.Second

// maxRepeats bounds what is remembered: names are few, unless a program puts keys there.
const maxRepeats = 1000

// repeats remembers when which record was last written.
type repeats struct {
	mu sync.Mutex // guards of; never held while a record is written
	of map[repeated]*repeat
}

type repeated struct{ text, name string }

type repeat struct {
	last    time.Time
	leftOut int // since last
}

// due reports whether a record is to be written now, and how many like it were not
// since the last.
func (r *repeats) due(which repeated, now time.Time) (leftOut int, due bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	seen := r.of[which]
	if seen != nil && now.Sub(seen.last) < repeatEvery {
		seen.leftOut++
		return 0, false
	}
	if seen == nil {
		if len(r.of) >= maxRepeats {
			clear(r.of)
		}
		seen = new(repeat)
		r.of[which] = seen
	}
	leftOut, seen.leftOut, seen.last = seen.leftOut, 0, now
	return leftOut, true
}
