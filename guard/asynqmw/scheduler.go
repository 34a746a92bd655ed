package asynqmw

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/hibiken/asynq"
	"github.com/robfig/cron/v3"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/internal/backoff"
	"github.com/jobguard/jobguard/guard/lease"
)

const (
	reloadInterval = time.Minute     // how often the leader asks for the periodic tasks
	makeUp         = 2 * time.Minute // how old a tick may be that is enqueued after a change of leader
	maxAhead       = time.Minute     // how far the leader's clock may be ahead of the store's
)

// Periodic is a PeriodicTaskConfigProvider of tasks that do not change.
type Periodic []*asynq.PeriodicTaskConfig

// GetConfigs implements asynq.PeriodicTaskConfigProvider.
func (p Periodic) GetConfigs() ([]*asynq.PeriodicTaskConfig, error) { return p, nil }

// RunScheduler enqueues periodic tasks while this process is the leader under key, in
// place of asynq's Scheduler and PeriodicTaskManager, two of which would enqueue every
// task twice. It works on the calling goroutine until ctx ends, and returns its cause,
// or what guard.Guard.Lead returns. End ctx before you shut the guard down.
//
// The store remembers the last tick of each task, so a change of leader loses and
// doubles none. Ticks that are missed for more than two minutes are skipped and logged.
// Times are in UTC unless a spec begins with CRON_TZ=. Equal tasks are one.
//
// provider is asked at the beginning of a term, where the process steps down if it fails,
// and once a minute. Failures are logged (log/slog). A g with Limit or Shared, and a store
// that is no lease.TickStore, are errors. A nil argument panics.
func RunScheduler(ctx context.Context, g *guard.Guard, key string, conn asynq.RedisConnOpt, provider asynq.PeriodicTaskConfigProvider) error {
	if g == nil || conn == nil || provider == nil {
		panic("asynqmw: RunScheduler: an argument is nil")
	}
	ticks, ok := g.Store().(lease.TickStore)
	if !ok {
		return errors.New("asynqmw: RunScheduler: the store cannot remember ticks (it is no lease.TickStore)")
	}
	s := &scheduler{key: key, owner: g.Store().NewOwner, ticks: ticks, client: asynq.NewClient(conn), provider: provider}
	defer func() { _ = s.client.Close() }() // nothing is being enqueued any more
	g = g.With(guard.Fallback(guard.Name("asynq scheduler")))
	for {
		err := g.Lead(ctx, key, s.term)
		if s.unknown == nil || ctx.Err() != nil {
			return err
		}
		s.failures++
		pause := backoff.Pause(s.failures, 2*time.Second, time.Minute)
		slog.ErrorContext(ctx, "asynqmw: stepping down as the leader of periodic tasks", "key", key, "error", err, "again", pause)
		if err := backoff.Sleep(ctx, pause); err != nil {
			return err
		}
	}
}

// scheduler is used by the goroutine that campaigns alone.
type scheduler struct {
	key      string
	owner    func(metadata string) string
	ticks    lease.TickStore
	client   *asynq.Client
	provider asynq.PeriodicTaskConfigProvider

	unknown  error // why the latest term did not begin
	failures int   // to begin a term, in a row
	fence    int64
	entries  map[string]*entry // by their keys in the store
}

// entry is a periodic task in one term.
type entry struct {
	*asynq.PeriodicTaskConfig
	key      string
	schedule cron.Schedule
	next     time.Time // zero: the store is to be asked first
	isNew    bool      // next is not enqueued, others count from it
	owner    string    // of the claim of next; a claim is repeated under the same
	due      time.Time // when to do something
}

// term enqueues until ctx ends. Lead holds the lease until it returns.
func (s *scheduler) term(ctx context.Context) error {
	fence, exclusive := guard.Fence(ctx)
	if !exclusive && ctx.Err() == nil {
		return errors.New("asynqmw: RunScheduler: the guard has a Limit or Shared: others could enqueue at the same time")
	}
	s.fence, s.entries = fence, nil
	if s.unknown = s.load(); s.unknown != nil {
		return s.unknown
	}
	s.failures = 0
	for reload := time.Now().Add(reloadInterval); ; {
		due := reload
		for _, e := range s.entries {
			if e.due.Before(due) {
				due = e.due
			}
		}
		if err := backoff.Sleep(ctx, time.Until(due)); err != nil {
			return err
		}
		now := time.Now().UTC()
		for _, e := range s.entries {
			if !e.due.After(now) && ctx.Err() == nil {
				s.attend(ctx, e, now)
			}
		}
		if !reload.After(now) {
			reload = now.Add(reloadInterval)
			if err := s.load(); err != nil {
				slog.ErrorContext(ctx, "asynqmw: the periodic tasks are not updated", "key", s.key, "error", err)
			}
		}
	}
}

// load asks the provider. Tasks that it had before go on as they are.
func (s *scheduler) load() error {
	configs, err := s.provider.GetConfigs()
	entries := make(map[string]*entry, len(configs))
	for _, c := range configs {
		if c == nil || c.Task == nil {
			return errors.New("asynqmw: a PeriodicTaskConfig or its Task is nil")
		}
		schedule, err := cron.ParseStandard(c.Cronspec)
		if err != nil {
			return fmt.Errorf("asynqmw: periodic task %q: %w", c.Task.Type(), err)
		}
		sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %q %q %q", c.Cronspec, c.Task.Type(), c.Task.Payload(), c.Task.Headers(), c.Opts))
		key := guard.Key(s.key, fmt.Sprintf("%x", sum[:16]))
		if entries[key] = s.entries[key]; entries[key] == nil {
			entries[key] = &entry{PeriodicTaskConfig: c, key: key, schedule: schedule}
		}
	}
	if err == nil {
		s.entries = entries
	}
	return err
}

// attend does what is due for e, and says when to come again.
func (s *scheduler) attend(ctx context.Context, e *entry, now time.Time) {
	err := s.tick(ctx, e, now)
	if e.due = e.next; err != nil || e.next.IsZero() { // or the spec has no further time
		e.due = now.Add(backoff.Jitter(time.Second/2, time.Second))
	}
	if err != nil && ctx.Err() == nil {
		slog.ErrorContext(ctx, "asynqmw: a periodic task is late", "key", s.key, "type", e.Task.Type(), "tick", e.next, "error", err)
	}
}

// tick enqueues e's task for e.next, or finds out what that is.
func (s *scheduler) tick(ctx context.Context, e *entry, now time.Time) error {
	if e.next.IsZero() {
		last, err := s.ticks.LastTick(ctx, e.key)
		if e.isNew = err == nil && last.At.IsZero(); !e.isNew {
			if err == nil {
				e.follow(ctx, last, now)
			}
			return err
		}
		e.next = now.Truncate(time.Second)
	}
	if e.owner == "" {
		e.owner = s.owner("")
	}
	reply, err := s.ticks.ClaimTick(ctx, lease.TickRequest{Key: e.key, Owner: e.owner, At: e.next, MaxAhead: maxAhead, Fence: s.fence, Rerun: true})
	switch {
	case err != nil:
		return err
	case reply.Ahead > 0:
		return fmt.Errorf("the clock here is %v ahead of the store's", reply.Ahead)
	case !reply.Claimed:
		e.follow(ctx, reply.Last, now)
		return nil
	}
	if !e.isNew {
		opts := append([]asynq.Option{asynq.TaskID(fmt.Sprintf("%s:%d", e.key, e.next.Unix()))}, e.Opts...)
		_, err := s.client.EnqueueContext(ctx, e.Task, opts...)
		if err != nil && !errors.Is(err, asynq.ErrTaskIDConflict) && !errors.Is(err, asynq.ErrDuplicateTask) {
			return err
		}
	}
	if _, err := s.ticks.EndTick(ctx, lease.TickEnd{Key: e.key, Owner: e.owner, At: e.next}); err != nil {
		return err
	}
	e.follow(ctx, lease.Tick{At: e.next, Done: true}, now)
	return nil
}

// follow sets what comes after the last tick: that one again if it was not done.
func (e *entry) follow(ctx context.Context, last lease.Tick, now time.Time) {
	e.owner, e.isNew, e.next = "", false, last.At
	if !last.Done {
		return
	}
	e.next = e.schedule.Next(last.At.UTC())
	if missed := e.next; !missed.IsZero() && missed.Before(now.Add(-makeUp)) {
		e.next = e.schedule.Next(now.Add(-makeUp))
		slog.WarnContext(ctx, "asynqmw: no process led, ticks of a periodic task are skipped", "type", e.Task.Type(), "from", missed, "to", e.next)
	}
}
