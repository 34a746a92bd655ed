package guardtest

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/jobguard/jobguard/guard/internal/entry"
	"github.com/jobguard/jobguard/guard/journal/record"
)

var _ record.Log = (*Log)(nil)

// Log is an in-memory [record.Log]. All methods are safe for concurrent use. It starts
// no goroutine and reads the time with time.Now: it works inside a [testing/synctest]
// bubble. Finished records are forgotten after their retention.
type Log struct {
	mu      sync.Mutex
	records map[string]*logged
	latest  map[string]int64 // newest token by key, while one of its records is open
	deaths  int64
	err     error
}

type logged struct {
	entry.Entry
	death int64 // number of its death
}

// NewLog returns an empty Log.
func NewLog() *Log {
	return &Log{records: make(map[string]*logged), latest: make(map[string]int64)}
}

// Fail makes every call fail with err and without effect, until Fail(nil).
func (l *Log) Fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.err = err
}

// State returns "open", "done", "compensated" or "dead", and "" for what is not kept.
func (l *Log) State(id string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if r := l.findLocked(id); r != nil {
		return string(r.State)
	}
	return ""
}

// begin locks l for a call. The caller unlocks it.
func (l *Log) begin(ctx context.Context) error {
	l.mu.Lock()
	if err := ended(ctx); err != nil {
		return fmt.Errorf("guardtest: log: %w", err)
	}
	return l.err
}

// findLocked returns the record of id, nil if there is none any more.
func (l *Log) findLocked(id string) *logged {
	r := l.records[id]
	if r != nil && r.Forgotten(time.Now()) {
		delete(l.records, id)
		return nil
	}
	return r
}

// openLocked returns the open records for which want says yes, oldest first.
func (l *Log) openLocked(want func(*logged) bool) []*logged {
	var open []*logged
	for _, r := range l.records {
		if r.State == entry.Open && want(r) {
			open = append(open, r)
		}
	}
	slices.SortFunc(open, func(a, b *logged) int { return cmp.Or(a.Started.Compare(b.Started), cmp.Compare(a.ID, b.ID)) })
	return open
}

func all(*logged) bool { return true }

// changedLocked keeps the newest token of r's key while one of its records is open.
func (l *Log) changedLocked(r *logged) {
	switch {
	case l.records[r.ID] == r && r.State == entry.Open:
		l.latest[r.Key] = max(l.latest[r.Key], r.Fence)
	case len(l.openLocked(func(other *logged) bool { return other.Key == r.Key })) == 0:
		delete(l.latest, r.Key)
	}
}

// Begin implements [record.Log].
func (l *Log) Begin(ctx context.Context, in record.Intent) ([]record.Open, error) {
	defer l.mu.Unlock()
	if err := l.begin(ctx); err != nil {
		return nil, err
	}
	if l.findLocked(in.ID) != nil {
		return nil, nil
	}
	if in.Ordered {
		var found []record.Open
		for _, r := range l.openLocked(func(r *logged) bool { return r.Key == in.Key && r.Blocks(in.Fence) }) {
			found = append(found, r.InTheWay(time.Now()))
		}
		if found != nil {
			return found, nil
		}
	}
	if len(l.openLocked(all)) >= in.MaxOpen {
		return nil, record.ErrFull
	}
	in.Record = copied(in.Record)
	l.records[in.ID] = &logged{Entry: entry.New(in, time.Now())}
	l.changedLocked(l.records[in.ID])
	return nil, nil
}

// copied is r with memory of its own.
func copied(r record.Record) record.Record {
	r.Payload, r.Checkpoint = slices.Clone(r.Payload), slices.Clone(r.Checkpoint)
	return r
}

// Checkpoint implements [record.Log].
func (l *Log) Checkpoint(ctx context.Context, at record.Ref, n int64, data []byte) error {
	defer l.mu.Unlock()
	if err := l.begin(ctx); err != nil {
		return err
	}
	r := l.findLocked(at.ID)
	if r == nil || !r.Check(n, slices.Clone(data)) {
		return record.ErrNotFound
	}
	return nil
}

// End implements [record.Log].
func (l *Log) End(ctx context.Context, e record.End) error {
	defer l.mu.Unlock()
	if err := l.begin(ctx); err != nil {
		return err
	}
	e.Record = copied(e.Record)
	r := l.findLocked(e.ID)
	var void, claimed bool
	if r == nil {
		missing, ok := entry.Missing(e, time.Now())
		if !ok {
			return nil
		}
		r = &logged{Entry: missing}
		l.records[e.ID] = r
	} else if void, claimed = r.End(e, time.Now()); void {
		delete(l.records, e.ID)
	}
	l.changedLocked(r)
	if claimed {
		return record.ErrClaimed
	}
	return nil
}

// Take implements [record.Log].
func (l *Log) Take(ctx context.Context, t record.Take) ([]record.Due, error) {
	defer l.mu.Unlock()
	if err := l.begin(ctx); err != nil {
		return nil, err
	}
	now := time.Now()
	open := l.openLocked(func(r *logged) bool { return !r.At.After(now) && slices.Contains(t.Kinds, r.Kind) })
	slices.SortStableFunc(open, func(a, b *logged) int { return a.At.Compare(b.At) })
	var due []record.Due
	for _, r := range open[:min(len(open), t.Max)] {
		r.At = now.Add(t.Lap)
		due = append(due, record.Due{Ref: r.Ref(), Busy: r.Busy})
	}
	return due, nil
}

// Claim implements [record.Log].
func (l *Log) Claim(ctx context.Context, c record.Claim) (record.Claimed, error) {
	defer l.mu.Unlock()
	if err := l.begin(ctx); err != nil {
		return record.Claimed{}, err
	}
	r := l.findLocked(c.ID)
	if r == nil {
		return record.Claimed{State: record.Finished}, nil
	}
	if state := r.Claim(c, time.Now()); state != record.Granted {
		return record.Claimed{State: state}, nil
	}
	return record.Claimed{Record: l.tellLocked(r)}, nil
}

// tellLocked is r as callers get it.
func (l *Log) tellLocked(r *logged) record.Record {
	rec := copied(r.Record)
	rec.LatestFence = max(r.Fence, l.latest[r.Key])
	return rec
}

// Resolve implements [record.Log].
func (l *Log) Resolve(ctx context.Context, v record.Verdict) (record.Resolved, error) {
	defer l.mu.Unlock()
	if err := l.begin(ctx); err != nil {
		return 0, err
	}
	r := l.findLocked(v.ID)
	if r == nil {
		return record.Void, nil
	}
	before := r.State
	answer := r.Resolve(v, time.Now())
	if r.State == entry.Dead && before != entry.Dead {
		l.deaths++
		r.death = l.deaths
	}
	l.changedLocked(r)
	return answer, nil
}

// Postpone implements [record.Log].
func (l *Log) Postpone(ctx context.Context, at record.Ref, d time.Duration) error {
	defer l.mu.Unlock()
	if err := l.begin(ctx); err != nil {
		return err
	}
	if r := l.findLocked(at.ID); r != nil && r.State == entry.Open && r.At.After(time.Now()) {
		r.Busy, r.At = r.Busy+1, time.Now().Add(d)
	}
	return nil
}

// Dead implements [record.Log].
func (l *Log) Dead(ctx context.Context, cursor string, n int) ([]record.Record, string, error) {
	defer l.mu.Unlock()
	if err := l.begin(ctx); err != nil {
		return nil, "", err
	}
	var after int64
	if cursor != "" {
		var err error
		if after, err = strconv.ParseInt(cursor, 10, 64); err != nil {
			return nil, "", fmt.Errorf("guardtest: log: the cursor: %w", err)
		}
	}
	var dead []*logged
	for _, r := range l.records {
		if r.State == entry.Dead && r.death > after {
			dead = append(dead, r)
		}
	}
	slices.SortFunc(dead, func(a, b *logged) int { return cmp.Compare(a.death, b.death) })
	next := ""
	if len(dead) > n {
		dead = dead[:n]
		next = strconv.FormatInt(dead[n-1].death, 10)
	}
	records := make([]record.Record, len(dead))
	for i, r := range dead {
		records[i] = l.tellLocked(r)
	}
	return records, next, nil
}

// Requeue implements [record.Log].
func (l *Log) Requeue(ctx context.Context, id string) error {
	return l.dead(ctx, id, func(r *logged) { r.Requeue(time.Now()) })
}

// Drop implements [record.Log].
func (l *Log) Drop(ctx context.Context, id string) error {
	return l.dead(ctx, id, func(*logged) { delete(l.records, id) })
}

// dead calls do for the dead record of id.
func (l *Log) dead(ctx context.Context, id string, do func(*logged)) error {
	defer l.mu.Unlock()
	if err := l.begin(ctx); err != nil {
		return err
	}
	r := l.findLocked(id)
	if r == nil || r.State != entry.Dead {
		return record.ErrNotFound
	}
	do(r)
	l.changedLocked(r)
	return nil
}

// Stats implements [record.Log].
func (l *Log) Stats(ctx context.Context) (record.Stats, error) {
	defer l.mu.Unlock()
	if err := l.begin(ctx); err != nil {
		return record.Stats{}, err
	}
	var s record.Stats
	for _, r := range l.records {
		if r.State == entry.Dead {
			s.Dead++
		}
	}
	if open := l.openLocked(all); len(open) > 0 {
		s.Open, s.Oldest = len(open), time.Since(open[0].Started)
	}
	return s, nil
}
