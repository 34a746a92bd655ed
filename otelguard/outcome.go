package otelguard

import (
	"context"
	"errors"

	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"

	"github.com/jobguard/jobguard/guard"
)

// The outcomes. Of an acquire: acquired, busy, timeout, canceled, failed. Of a
// run: ok, failed, lost, maxHold, panicked; of a piece of a term that goes on: leading.
const (
	acquired = "acquired"
	busy     = "busy"
	timeout  = "timeout"
	canceled = "canceled"
	failed   = "error"

	ok       = "ok"
	lost     = "lost"
	maxHold  = "max_hold"
	panicked = "panic"
	leading  = "leading"
)

// outcome is how an acquire or a run ended. Its errorType is "" on success.
type outcome struct{ word, errorType string }

// acquireOutcome returns how an acquire ended; tried is true of a caller that does not
// wait. A busy key and a caller that gave up are no errors. A store that does not
// answer is one, also if the caller's deadline passed meanwhile.
func acquireOutcome(ctx context.Context, err error, tried bool) outcome {
	if err == nil {
		return outcome{word: acquired}
	}
	return ask(func() outcome { return refusal(ctx, err, tried) }, outcome{failed, otherError})
}

func refusal(ctx context.Context, err error, tried bool) outcome {
	switch {
	case errors.Is(err, guard.ErrUnavailable):
		return outcome{failed, "unavailable"}
	case errors.Is(err, guard.ErrClosed):
		return outcome{failed, "closed"}
	case ctx.Err() != nil:
		return outcome{word: canceled}
	case !errors.Is(err, guard.ErrBusy):
		return outcome{failed, errorType(err)}
	case tried:
		return outcome{word: busy}
	}
	return outcome{word: timeout}
}

// runOutcome returns how a run ended.
func runOutcome(r guard.RunEnd) outcome {
	switch {
	case r.Panicked:
		return outcome{panicked, panicked}
	case r.Lost == guard.LostMaxHold:
		return outcome{maxHold, maxHold}
	case r.Lost == guard.LostRevoked, r.Lost == guard.LostReplaced:
		return outcome{failed, string(r.Lost)}
	case r.Lost != "":
		return outcome{lost, lost}
	case r.Err != nil:
		return outcome{failed, errorType(r.Err)}
	}
	return outcome{word: ok}
}

// errorType puts err into few words: those of the guard's errors and of contexts,
// else the type of the error as the conventions derive it.
func errorType(err error) string {
	return short(ask(func() string { return wordOf(err) }, otherError))
}

func wordOf(err error) string {
	for _, k := range [...]struct {
		kind error
		word string
	}{
		{guard.ErrLost, lost},
		{guard.ErrMaxHold, maxHold},
		{guard.ErrRevoked, string(guard.LostRevoked)},
		{guard.ErrReplaced, string(guard.LostReplaced)},
		{guard.ErrUnavailable, "unavailable"},
		{guard.ErrClosed, "closed"},
		{guard.ErrBusy, busy},
		{guard.ErrInvalidKey, "invalid_key"},
		{context.Canceled, canceled},
		{context.DeadlineExceeded, "deadline_exceeded"},
	} {
		if errors.Is(err, k.kind) {
			return k.word
		}
	}
	return semconv.ErrorType(err).Value.AsString()
}
