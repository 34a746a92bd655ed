package redislog

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/jobguard/jobguard/guard/journal/record"
)

// Take implements [record.Log]. It begins with a shard by chance, so that sweepers do
// not meet.
func (l *Log) Take(ctx context.Context, t record.Take) ([]record.Due, error) {
	var due []record.Due
	if len(t.Kinds) == 0 {
		return nil, nil
	}
	first := rand.IntN(l.opts.shards)
	for i := range l.opts.shards {
		if len(due) == t.Max {
			break
		}
		more, err := l.takeOf(ctx, l.base((first+i)%l.opts.shards), t, t.Max-len(due))
		if err != nil {
			return nil, err
		}
		due = append(due, more...)
	}
	return due, nil
}

func (l *Log) takeOf(ctx context.Context, base string, t record.Take, most int) ([]record.Due, error) {
	keys := make([]string, len(t.Kinds))
	for i, kind := range t.Kinds {
		keys[i] = base + "due:" + kind
	}
	r, err := l.list(ctx, "take", takeScript, keys, most, t.Lap.Microseconds())
	if err != nil {
		return nil, err
	}
	var due []record.Due
	var ids []string
	for len(r.values) > 0 {
		id, kind := r.text(), r.number()
		if r.err != nil {
			return nil, r.err
		}
		ids = append(ids, id)
		due = append(due, record.Due{Ref: record.Ref{ID: id, Kind: t.Kinds[kind-1]}})
	}
	known, err := l.fields(ctx, base, ids, "k", "b")
	if err != nil {
		return nil, err
	}
	found := due[:0]
	for i, r := range known {
		d := due[i]
		d.Key, d.Busy = r.text(), int(r.number())
		if r.err != nil {
			return nil, r.err
		}
		if d.Key != "" { // else it was finished meanwhile
			found = append(found, d)
		}
	}
	return found, nil
}

// Stats implements [record.Log].
func (l *Log) Stats(ctx context.Context) (record.Stats, error) {
	var s record.Stats
	for shard := range l.opts.shards {
		base := l.base(shard)
		r, err := l.list(ctx, "stats", statsScript, []string{base + "began", base + "dead"})
		if err != nil {
			return record.Stats{}, err
		}
		s.Open += int(r.number())
		s.Dead += int(r.number())
		s.Oldest = max(s.Oldest, time.Duration(r.number())*time.Microsecond)
		if r.err != nil {
			return record.Stats{}, r.err
		}
	}
	return s, nil
}
