package redislog

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/jobguard/jobguard/guard/journal/record"
)

// Dead implements [record.Log]: one shard after the other, each in the order of death. A
// cursor is shard, time and id of the last record of the page before.
func (l *Log) Dead(ctx context.Context, cursor string, n int) ([]record.Record, string, error) {
	shard, after, last := 0, "-inf", ""
	if cursor != "" {
		parts := strings.SplitN(cursor, " ", 3)
		s, err := strconv.Atoi(parts[0])
		if err != nil || len(parts) != 3 || s < 0 || s >= l.opts.shards {
			return nil, "", fmt.Errorf("redislog: dead: %q is no cursor", cursor)
		}
		shard, after, last = s, parts[1], parts[2]
	}
	for {
		base := l.base(shard)
		ids, next, err := l.deadIDs(ctx, base, after, last, n)
		if err != nil {
			return nil, "", err
		}
		records, err := l.records(ctx, base, ids)
		if err != nil {
			return nil, "", err
		}
		if next != "" {
			return records, strconv.Itoa(shard) + " " + next, nil
		}
		if shard++; shard == l.opts.shards {
			return records, "", nil
		}
		if len(records) > 0 {
			return records, strconv.Itoa(shard) + " -inf ", nil
		}
		after, last = "-inf", ""
	}
}

// deadIDs returns up to n ids after the one that died last at a time, and where to go on,
// "" at the end.
func (l *Log) deadIDs(ctx context.Context, base, after, last string, n int) (ids []string, next string, err error) {
	// Ids with one time are in their own order, so those before last are skipped. They
	// are as many as died in one microsecond.
	for most := n + 16; ; most *= 2 {
		found, err := bounded(ctx, l.client, func(ctx context.Context) ([]redis.Z, error) {
			return l.client.ZRangeByScoreWithScores(ctx, base+"dead", &redis.ZRangeBy{Min: after, Max: "+inf", Count: int64(most)}).Result()
		})
		if err != nil {
			return nil, "", fmt.Errorf("redislog: dead: %w", err)
		}
		ids = ids[:0]
		for _, z := range found {
			id, at := z.Member.(string), strconv.FormatFloat(z.Score, 'f', 0, 64) //nolint:forcetypeassert // members are
			if at == after && id <= last {
				continue
			}
			if len(ids) == n {
				return ids, next, nil
			}
			ids, next = append(ids, id), at+" "+id
		}
		if len(found) < most {
			return ids, "", nil
		}
	}
}

// records reads dead records. One that is dead no more is left out.
func (l *Log) records(ctx context.Context, base string, ids []string) ([]record.Record, error) {
	found, err := l.fields(ctx, base, ids, append([]string{"s"}, fields...)...)
	if err != nil {
		return nil, err
	}
	var records []record.Record
	for i, r := range found {
		dead := r.text() == "x"
		rec := r.record(ids[i])
		if r.err != nil {
			return nil, r.err
		}
		if dead {
			records = append(records, rec)
		}
	}
	return records, nil
}

// Requeue implements [record.Log].
func (l *Log) Requeue(ctx context.Context, id string) error {
	return l.ofDead(ctx, "requeue", requeueScript, id)
}

// Drop implements [record.Log].
func (l *Log) Drop(ctx context.Context, id string) error {
	return l.ofDead(ctx, "drop", dropScript, id)
}

// ofDead finds the shard of a dead record, and runs s on it.
func (l *Log) ofDead(ctx context.Context, doing string, s *redis.Script, id string) error {
	for shard := range l.opts.shards {
		found, err := l.fields(ctx, l.base(shard), []string{id}, "s", "K", "k")
		if err != nil {
			return err
		}
		if found[0].text() != "x" {
			continue
		}
		at := record.Ref{ID: id, Kind: found[0].text(), Key: found[0].text()}
		n, err := l.integer(ctx, doing, s, l.keys(at), id)
		if err == nil && n == 0 {
			return record.ErrNotFound
		}
		return err
	}
	return record.ErrNotFound
}
