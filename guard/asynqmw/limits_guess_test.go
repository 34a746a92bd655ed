package asynqmw

import (
	"context"
	"testing"
	"time"
)

// On a clock that moves in steps, the attempt can have begun at the time at which it
// was taken from the queue. The Timeout of a clone of a clone must not grow each
// time.
func TestTimeoutIsGuessedToTheSecondHoweverSoonTheAttemptBegan(t *testing.T) {
	t.Parallel()
	start := time.Unix(1_000_000, 500)
	for late, want := range map[time.Duration]time.Duration{
		0:                      7 * time.Second,
		time.Nanosecond:        7 * time.Second,
		999 * time.Millisecond: 7 * time.Second,
		time.Second:            6 * time.Second, // too late to distinguish
	} {
		ctx := endsAt{t.Context(), start.Add(7 * time.Second)}
		if got := guessLimits(ctx, start.Add(late)); got.timeout != want || !got.deadline.IsZero() || got.exact {
			t.Errorf("begun %v late: %+v, want the Timeout %v", late, got, want)
		}
	}
}

// endsAt is a context with that deadline.
type endsAt struct {
	context.Context
	end time.Time
}

func (c endsAt) Deadline() (time.Time, bool) { return c.end, true }
