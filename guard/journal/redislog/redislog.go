package redislog

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/jobguard/jobguard/guard/journal/record"
)

var _ record.Log = (*Log)(nil)

// Log keeps records on Redis. It is safe for concurrent use, and starts no goroutine
// that outlives a call by more than the client's timeouts.
type Log struct {
	client redis.UniversalClient
	opts   options
}

// New returns a Log. It does no I/O. A nil client panics.
func New(client redis.UniversalClient, opts ...Option) *Log {
	if client == nil {
		panic("redislog: nil client")
	}
	return &Log{client: client, opts: newOptions(opts)}
}

// base is what the names of a shard's keys begin with.
func (l *Log) base(shard int) string { return l.opts.prefix + "{" + strconv.Itoa(shard) + "}:" }

func (l *Log) shardOf(key string) int {
	if l.opts.shards == 1 {
		return 0
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(key)) // never fails
	return int(h.Sum32() % uint32(l.opts.shards))
}

// keys are KEYS of record.lua.
func (l *Log) keys(at record.Ref) []string {
	base := l.base(l.shardOf(at.Key))
	return []string{base + "began", base + "due:" + at.Kind, base + "r:" + at.ID, base + "k:" + at.Key, base + "dead"}
}

// Begin implements [record.Log].
func (l *Log) Begin(ctx context.Context, in record.Intent) ([]record.Open, error) {
	ordered := 0
	if in.Ordered {
		ordered = 1
	}
	most := (in.MaxOpen + l.opts.shards - 1) / l.opts.shards
	r, err := l.list(ctx, "begin", beginScript, l.keys(in.Ref()),
		in.ID, in.Kind, in.Key, in.Payload, in.Fence, in.Due.Microseconds(), most, ordered)
	if err != nil {
		return nil, err
	}
	switch r.number() {
	case 0:
		return nil, r.err
	case 1:
		return nil, record.ErrFull
	}
	now := r.number()
	var ids []string
	for len(r.values) > 0 {
		ids = append(ids, r.text())
	}
	if r.err != nil {
		return nil, r.err
	}
	return l.open(ctx, in.Key, ids, now)
}

// open reads what an ordered Begin found.
func (l *Log) open(ctx context.Context, key string, ids []string, now int64) ([]record.Open, error) {
	base := l.base(l.shardOf(key))
	known, err := l.fields(ctx, base, ids, "K", "w")
	if err != nil {
		return nil, err
	}
	open := make([]record.Open, len(ids))
	due := make([]*redis.FloatCmd, len(ids))
	_, err = bounded(ctx, l.client, func(ctx context.Context) (any, error) {
		return l.client.Pipelined(ctx, func(p redis.Pipeliner) error {
			for i, r := range known {
				open[i].Ref = record.Ref{ID: ids[i], Kind: r.text(), Key: key}
				due[i] = p.ZScore(ctx, base+"due:"+open[i].Kind, ids[i])
			}
			return nil
		})
	})
	if err != nil && !errors.Is(err, redis.Nil) {
		return nil, fmt.Errorf("redislog: begin: %w", err)
	}
	for i, r := range known {
		if r.text() != "" { // an attempt was resolved: it is a retry
			open[i].Backoff = time.Duration(int64(due[i].Val())-now) * time.Microsecond
		}
	}
	return open, nil
}

// fields reads some fields of records, in one round trip.
func (l *Log) fields(ctx context.Context, base string, ids []string, fields ...string) ([]*reader, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	found, err := bounded(ctx, l.client, func(ctx context.Context) ([]redis.Cmder, error) {
		return l.client.Pipelined(ctx, func(p redis.Pipeliner) error {
			for _, id := range ids {
				p.HMGet(ctx, base+"r:"+id, fields...)
			}
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("redislog: read: %w", err)
	}
	readers := make([]*reader, len(found))
	for i, cmd := range found {
		values, err := cmd.(*redis.SliceCmd).Result() //nolint:forcetypeassert // HMGet returns it
		if err != nil {
			return nil, fmt.Errorf("redislog: read: %w", err)
		}
		readers[i] = &reader{doing: "read", values: values}
	}
	return readers, nil
}

// Checkpoint implements [record.Log].
func (l *Log) Checkpoint(ctx context.Context, at record.Ref, n int64, data []byte) error {
	known, err := l.integer(ctx, "checkpoint", checkpointScript, l.keys(at)[2:3], data, n)
	if err == nil && known == 0 {
		return record.ErrNotFound
	}
	return err
}

// End implements [record.Log].
func (l *Log) End(ctx context.Context, e record.End) error {
	sealed := 0
	if e.Sealed {
		sealed = 1
	}
	args := []any{e.ID, string(e.Outcome), e.Err, e.Checkpoint, e.Retain.Milliseconds(), sealed}
	n, err := l.integer(ctx, "end", endScript, l.keys(e.Ref()), args...)
	if err == nil && n == 1 {
		args = append(args, e.Kind, e.Key, e.Payload, e.Fence)
		n, err = l.integer(ctx, "end", endScript, l.keys(e.Ref()), args...)
	}
	if err == nil && n == 2 {
		return record.ErrClaimed
	}
	return err
}

// Claim implements [record.Log].
func (l *Log) Claim(ctx context.Context, c record.Claim) (record.Claimed, error) {
	settled := 0
	if c.Settled {
		settled = 1
	}
	r, err := l.list(ctx, "claim", claimScript, l.keys(c.Ref), c.ID, c.By, c.Fence, settled, c.Lap.Microseconds())
	if err != nil {
		return record.Claimed{}, err
	}
	switch r.number() {
	case 0:
		claimed := record.Claimed{Record: r.record(c.ID)}
		claimed.Record.LatestFence = max(claimed.Record.Fence, r.number())
		return claimed, r.err
	case 2:
		return record.Claimed{State: record.Unsettled}, r.err
	case 3:
		return record.Claimed{State: record.Refused}, r.err
	}
	return record.Claimed{State: record.Finished}, r.err
}

// Resolve implements [record.Log].
func (l *Log) Resolve(ctx context.Context, v record.Verdict) (record.Resolved, error) {
	n, err := l.integer(ctx, "resolve", resolveScript, l.keys(v.Ref),
		v.ID, v.By, string(v.Result), v.After.Microseconds(), v.Err, v.Retain.Milliseconds())
	return record.Resolved(n), err
}

// Postpone implements [record.Log].
func (l *Log) Postpone(ctx context.Context, at record.Ref, d time.Duration) error {
	_, err := l.integer(ctx, "postpone", postponeScript, l.keys(at), at.ID, d.Microseconds())
	return err
}
