package guardtest

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

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
	record.Record
	state   logState
	sealed  bool // made done by a transaction of the run's own
	due     time.Time
	by      string           // of the latest claim
	answer  *record.Resolved // to its Verdict; nil before
	claimed int64            // its token; 0: never claimed
	again   bool             // ended since the latest claim
	busy    int
	death   int64     // number of its death
	until   time.Time // a finished one is kept until
}

type logState string

const (
	logOpen        logState = "open"
	logDone        logState = "done"
	logCompensated logState = "compensated"
	logDead        logState = "dead"
)

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
		return string(r.state)
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
	if r != nil && !r.until.IsZero() && !time.Now().Before(r.until) {
		delete(l.records, id)
		return nil
	}
	return r
}

// openLocked returns the open records for which want says yes, oldest first.
func (l *Log) openLocked(want func(*logged) bool) []*logged {
	var open []*logged
	for _, r := range l.records {
		if r.state == logOpen && want(r) {
			open = append(open, r)
		}
	}
	slices.SortFunc(open, func(a, b *logged) int { return cmp.Or(a.Started.Compare(b.Started), cmp.Compare(a.ID, b.ID)) })
	return open
}

func all(*logged) bool { return true }

// Begin implements [record.Log].
func (l *Log) Begin(ctx context.Context, in record.Intent) ([]record.Open, error) {
	defer l.mu.Unlock()
	if err := l.begin(ctx); err != nil {
		return nil, err
	}
	if r := l.findLocked(in.ID); r != nil {
		return nil, nil
	}
	if in.Ordered {
		var inTheWay []record.Open
		for _, r := range l.openLocked(func(r *logged) bool {
			return r.Key == in.Key && (r.Fence != in.Fence || r.Reason != "" || r.claimed != 0)
		}) {
			o := record.Open{Ref: r.Ref()}
			if r.answer != nil && r.Attempt > 0 {
				o.Backoff = time.Until(r.due)
			}
			inTheWay = append(inTheWay, o)
		}
		if inTheWay != nil {
			return inTheWay, nil
		}
	}
	if len(l.openLocked(all)) >= in.MaxOpen {
		return nil, record.ErrFull
	}
	r := &logged{Record: copied(in.Record), state: logOpen, due: time.Now().Add(in.Due)}
	r.Started = time.Now()
	l.records[r.ID] = r
	l.latest[r.Key] = max(l.latest[r.Key], r.Fence)
	return nil, nil
}

// copied is r with memory of its own.
func copied(r record.Record) record.Record {
	r.Payload, r.Checkpoint = slices.Clone(r.Payload), slices.Clone(r.Checkpoint)
	return r
}

// Checkpoint implements [record.Log].
func (l *Log) Checkpoint(ctx context.Context, at record.Ref, data []byte) error {
	defer l.mu.Unlock()
	if err := l.begin(ctx); err != nil {
		return err
	}
	r := l.findLocked(at.ID)
	if r == nil || r.state != logOpen || r.claimed != 0 {
		return record.ErrNotFound
	}
	r.Record.Checkpoint = slices.Clone(data)
	return nil
}

// End implements [record.Log].
func (l *Log) End(ctx context.Context, e record.End) error {
	defer l.mu.Unlock()
	if err := l.begin(ctx); err != nil {
		return err
	}
	r := l.findLocked(e.ID)
	switch {
	case r == nil:
		if e.Outcome == record.EndFailed || e.Outcome == record.EndLate {
			r = &logged{}
			l.records[e.ID] = r
			l.reopenLocked(r, e, record.Reason(e.Outcome))
		}
	case r.state == logDone:
		if e.Outcome == record.EndLate && !e.Sealed {
			l.reopenLocked(r, e, record.Late)
		}
	case e.Outcome == record.EndVoid:
		if r.state == logOpen && r.claimed == 0 {
			l.closedLocked(r)
			delete(l.records, e.ID)
		}
	case r.state != logOpen:
		l.reopenLocked(r, e, record.Late)
	case r.claimed != 0:
		r.again, r.Reason, r.Err, r.Record.Checkpoint, r.due = true, record.Late, e.Err, e.Checkpoint, time.Now()
	case e.Outcome == record.EndDone:
		l.finishLocked(r, logDone, e.Retain)
	default:
		r.Reason, r.Err, r.due = record.Reason(e.Outcome), e.Err, time.Now()
	}
	return nil
}

// reopenLocked makes r what e says, open and due now.
func (l *Log) reopenLocked(r *logged, e record.End, why record.Reason) {
	*r = logged{Record: copied(e.Record), state: logOpen, due: time.Now(), claimed: r.claimed}
	r.Reason, r.Attempt = why, 0
	if r.Started.IsZero() {
		r.Started = time.Now()
	}
	l.latest[r.Key] = max(l.latest[r.Key], r.Fence)
}

func (l *Log) finishLocked(r *logged, state logState, retain time.Duration) {
	r.state, r.until = state, time.Now().Add(retain)
	r.Payload, r.Record.Checkpoint = nil, nil
	l.closedLocked(r)
}

// closedLocked forgets the newest token of r's key if no other record of it is open.
func (l *Log) closedLocked(r *logged) {
	if len(l.openLocked(func(other *logged) bool { return other != r && other.Key == r.Key })) == 0 {
		delete(l.latest, r.Key)
	}
}

// Take implements [record.Log].
func (l *Log) Take(ctx context.Context, t record.Take) ([]record.Due, error) {
	defer l.mu.Unlock()
	if err := l.begin(ctx); err != nil {
		return nil, err
	}
	now := time.Now()
	open := l.openLocked(func(r *logged) bool { return !r.due.After(now) && slices.Contains(t.Kinds, r.Kind) })
	slices.SortStableFunc(open, func(a, b *logged) int { return a.due.Compare(b.due) })
	var due []record.Due
	for _, r := range open[:min(len(open), t.Max)] {
		r.due = now.Add(t.Lap)
		due = append(due, record.Due{Ref: r.Ref(), Busy: r.busy})
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
	switch {
	case r == nil || r.state != logOpen:
		return record.Claimed{State: record.Finished}, nil
	case c.Fence < r.claimed:
		return record.Claimed{State: record.Refused}, nil
	case !c.Settled && r.Reason == "":
		return record.Claimed{State: record.Unsettled}, nil
	}
	if r.Reason == "" {
		r.Reason = record.Abandoned
	}
	if r.by != c.By {
		r.Attempt++
		r.by, r.claimed, r.answer, r.again, r.busy, r.due = c.By, c.Fence, nil, false, 0, time.Now().Add(c.Lap)
	}
	claimed := copied(r.Record)
	claimed.LatestFence = max(r.Fence, l.latest[r.Key])
	return record.Claimed{Record: claimed}, nil
}

// Resolve implements [record.Log].
func (l *Log) Resolve(ctx context.Context, v record.Verdict) (record.Resolved, error) {
	defer l.mu.Unlock()
	if err := l.begin(ctx); err != nil {
		return 0, err
	}
	r := l.findLocked(v.ID)
	if r == nil || r.by != v.By {
		return record.Void, nil
	}
	if r.answer != nil {
		return *r.answer, nil
	}
	answer := record.Accepted
	r.answer = &answer
	if r.again {
		r.again, r.Attempt, r.due, answer = false, 0, time.Now(), record.Again
		return answer, nil
	}
	switch v.Result {
	case record.Compensated:
		l.finishLocked(r, logCompensated, v.Retain)
	case record.Retry:
		r.Err, r.due = v.Err, time.Now().Add(v.After)
	case record.Die:
		l.deaths++
		r.Err, r.state, r.death = v.Err, logDead, l.deaths
		l.closedLocked(r)
	}
	return answer, nil
}

// Postpone implements [record.Log].
func (l *Log) Postpone(ctx context.Context, at record.Ref, d time.Duration) error {
	defer l.mu.Unlock()
	if err := l.begin(ctx); err != nil {
		return err
	}
	if r := l.findLocked(at.ID); r != nil && r.state == logOpen && r.due.After(time.Now()) {
		r.busy, r.due = r.busy+1, time.Now().Add(d)
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
		if r.state == logDead && r.death > after {
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
		records[i] = copied(r.Record)
		records[i].LatestFence = max(r.Fence, l.latest[r.Key])
	}
	return records, next, nil
}

// Requeue implements [record.Log].
func (l *Log) Requeue(ctx context.Context, id string) error {
	return l.dead(ctx, id, func(r *logged) {
		r.state, r.Attempt, r.due, r.busy = logOpen, 0, time.Now(), 0
		l.latest[r.Key] = max(l.latest[r.Key], r.Fence)
	})
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
	if r == nil || r.state != logDead {
		return record.ErrNotFound
	}
	do(r)
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
		if r.state == logDead {
			s.Dead++
		}
	}
	if open := l.openLocked(all); len(open) > 0 {
		s.Open, s.Oldest = len(open), time.Since(open[0].Started)
	}
	return s, nil
}
