package journal

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/internal/backoff"
	"github.com/jobguard/jobguard/guard/internal/terms"
	"github.com/jobguard/jobguard/guard/journal/record"
)

const (
	// slots is how many records a process pursues at once: so many whose keys are tried
	// once, and as many whose keys are waited for.
	slots = 32

	// A sweeper that found less than it asked for pauses for this long.
	shortestPause, longestPause = 400 * time.Millisecond, 800 * time.Millisecond

	// How long a pursuit waits for a key that was found busy before: doubling from
	// firstWait, with pauses from firstPostponed.
	firstWait, longestWait           = 2 * time.Second, 10 * time.Second
	firstPostponed, longestPostponed = time.Second, 30 * time.Second
)

// Run looks for records that are due, and compensates them with the handlers of this
// Journal, until ctx ends; then it ends the handlers' contexts, waits for them, and
// returns ctx's cause. After the guard's Shutdown, which waits for handlers as for all
// runs, it returns guard.ErrClosed. Replicas that run it share the work.
//
// It looks every 0.4 to 0.8 s: a handler is called within that time after a run that did not
// end well; after a crash, once the TTL is over as well.
//
// At most 64 handlers run at once, each on a goroutine of Run's. A store or log that
// does not answer is asked again, with pauses of up to 5 s; observers get
// EventSweepFailed.
func (j *Journal) Run(ctx context.Context) error {
	s := &sweeper{Journal: j, fresh: make(chan struct{}, slots), busy: make(chan struct{}, slots)}
	defer s.pursuits.Wait()
	for failures := 0; ctx.Err() == nil; {
		if terms.Closed(j.guard) {
			return guard.ErrClosed
		}
		more, err := s.sweep(ctx)
		failures++
		switch {
		case ctx.Err() != nil:
		case err != nil:
			j.happened(ctx, Event{Kind: EventSweepFailed, Err: err})
			_ = backoff.Sleep(ctx, backoff.Pause(failures, 250*time.Millisecond, 5*time.Second)) // ctx is looked at
		case more:
			failures = 0
		default:
			failures = 0
			_ = backoff.Sleep(ctx, backoff.Jitter(shortestPause, longestPause)) // the same
		}
	}
	return context.Cause(ctx)
}

// sweeper is one Run.
type sweeper struct {
	*Journal
	fresh, busy chan struct{} // slots that are taken
	pursuits    sync.WaitGroup
}

// sweep takes records that are due, as many as there are slots for, and starts to
// pursue them. It reports whether there may be more, and then has waited for a slot.
func (s *sweeper) sweep(ctx context.Context) (more bool, err error) {
	kinds := s.kinds()
	if len(kinds) == 0 {
		return false, nil
	}
	select { // at least one slot
	case s.fresh <- struct{}{}:
		<-s.fresh
	case <-ctx.Done():
		return false, nil
	}
	bounded, cancel := context.WithTimeout(ctx, outcomeTimeout)
	defer cancel()
	free := slots - len(s.fresh) // only this goroutine takes slots
	due, err := s.log.Take(bounded, record.Take{Kinds: kinds, Max: free, Lap: lap})
	if err != nil {
		return false, err
	}
	for _, d := range due {
		slot, wait := s.slotFor(d)
		s.pursuits.Go(func() {
			defer func() { <-slot }()
			s.pursue(ctx, d, wait)
		})
	}
	return len(due) == free, nil
}

// slotFor takes a slot, and says how long to wait for the key. One that was found busy
// before is waited for in its queue: longer each time, as that queue may be long, but
// bounded, as its holder may hang. All others are tried once, and so is every key while
// enough are waited for, as it may be free by now.
func (s *sweeper) slotFor(d record.Due) (slot chan struct{}, wait time.Duration) {
	if d.Busy > 0 {
		select {
		case s.busy <- struct{}{}:
			return s.busy, min(firstWait<<min(d.Busy-1, 10), longestWait)
		default:
		}
	}
	s.fresh <- struct{}{} // has room: sweep took no more than that
	return s.fresh, 0
}

// pursue compensates one record, if its key can be had.
func (s *sweeper) pursue(ctx context.Context, d record.Due, wait time.Duration) {
	had := false
	err := s.patient.With(guard.Wait(wait)).Do(ctx, d.Key, func(ctx context.Context) error {
		had = true
		return s.compensate(ctx, d.Ref)
	})
	switch {
	case had: // what failed is due again by itself
	case errors.Is(err, guard.ErrClosed): // it is left to others
	default:
		s.postpone(ctx, d)
	}
}

// postpone leaves a record for later. Without effect it is due again after its lap.
func (s *sweeper) postpone(ctx context.Context, d record.Due) {
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), attemptTimeout)
	defer cancel()
	_ = s.log.Postpone(bounded, d.Ref, backoff.Pause(d.Busy+1, firstPostponed, longestPostponed)) // see above
}
