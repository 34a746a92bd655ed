package redisstore

import (
	"context"
	"hash/maphash"
	"iter"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"

	"github.com/jobguard/jobguard/guard/lease"
)

// scanPage is how many keys of the server one SCAN looks at. At 500 it takes less than a
// millisecond.
const scanPage = 500

// List inspects each key that is held, once, and whose name, without the prefix, matches the
// glob pattern as SCAN understands it; "" is "*". Keys that are taken or freed meanwhile
// may be missing. The order is the server's.
//
// It scans every master, in pages of 500 keys, and keeps 8 bytes of each key that it has
// seen. An error ends it, and so does ctx, between two pages. With Prefix("") it lists
// every string and every key of another type in the database.
//
// The user of the server needs scan beside what [Store.Inspect] needs.
func (s *Store) List(ctx context.Context, pattern string) iter.Seq2[Inspection, error] {
	if pattern == "" {
		pattern = "*"
	}
	return func(yield func(Inspection, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		seed, seen := maphash.MakeSeed(), make(map[uint64]struct{})
		for page, err := range s.pages(ctx, escapeGlob(s.prefix)+pattern) {
			if err != nil {
				yield(Inspection{}, fault(ctx, "list", err))
				return
			}
			var keys []string
			for _, name := range page {
				key, ok := s.leaseKey(name)
				sum := maphash.String(seed, key)
				if _, twice := seen[sum]; ok && !twice {
					seen[sum] = struct{}{}
					keys = append(keys, key)
				}
			}
			if !s.inspectAll(ctx, keys, yield) {
				return
			}
		}
	}
}

// leaseKey is the user's key of the lease under name; false if name is a companion.
func (s *Store) leaseKey(name string) (string, bool) {
	rest, ok := strings.CutPrefix(name, s.prefix)
	if !ok || strings.IndexByte(rest, '{') >= 0 && companion.MatchString(rest) && !strings.HasPrefix(rest, escapePrefix) {
		return "", false
	}
	return strings.TrimPrefix(rest, escapePrefix), true
}

// inspectAll yields an inspection of each key, in one pipeline for each node.
func (s *Store) inspectAll(ctx context.Context, keys []string, yield func(Inspection, error) bool) bool {
	if len(keys) == 0 {
		return true
	}
	ops := make([]*op, len(keys))
	for i, key := range keys {
		ops[i] = s.inspection(key)
	}
	s.router.do(ctx, false, ops...)
	for n, o := range ops {
		i, err := s.inspected(ctx, keys[n], o)
		switch {
		case err != nil:
			yield(i, err)
			return false
		case i.Mode == ModeFree && i.Queue == nil: // ended meanwhile
		case !yield(i, nil):
			return false
		}
	}
	return true
}

// pages yields the names that match, from every master, one after the other.
func (s *Store) pages(ctx context.Context, match string) iter.Seq2[[]string, error] {
	return func(yield func([]string, error) bool) {
		nodes, err := s.masters(ctx)
		if err != nil {
			yield(nil, err)
			return
		}
		for _, node := range nodes {
			for cursor := uint64(0); ; {
				page, next, err := node.Scan(ctx, cursor, match, scanPage).Result()
				if !yield(page, err) || err != nil {
					return
				}
				if cursor = next; cursor == 0 {
					break
				}
			}
		}
	}
}

// masters returns a client of each node that has keys.
func (s *Store) masters(ctx context.Context) (nodes []redis.Cmdable, _ error) {
	if s.router.cluster == nil {
		return []redis.Cmdable{s.router.client}, nil
	}
	var mu sync.Mutex // guards nodes: ForEachMaster calls side by side
	err := s.router.cluster.ForEachMaster(ctx, func(_ context.Context, node *redis.Client) error {
		mu.Lock()
		defer mu.Unlock()
		nodes = append(nodes, node)
		return nil
	})
	return nodes, err
}

// escapeGlob is s as a pattern that matches s alone.
func escapeGlob(s string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`, `]`, `\]`).Replace(s)
}

// KeyTick is the last tick of a schedule, under its key.
type KeyTick struct {
	Key string
	lease.Tick
}

// Ticks yields the last tick of each schedule whose key matches the glob pattern; "" is "*".
// It works as [Store.List] does, and needs the same permissions.
func (s *Store) Ticks(ctx context.Context, pattern string) iter.Seq2[KeyTick, error] {
	if pattern == "" {
		pattern = "*"
	}
	return func(yield func(KeyTick, error) bool) {
		seen := make(map[string]struct{}) // schedules are few
		for page, err := range s.pages(ctx, escapeGlob(s.prefix)+"tick:{*}:"+pattern) {
			if err != nil {
				yield(KeyTick{}, fault(ctx, "ticks", err))
				return
			}
			for _, name := range page {
				rest, _ := strings.CutPrefix(name, s.prefix+"tick:{")
				_, key, ok := strings.Cut(rest, "}:")
				key = strings.TrimPrefix(key, escapePrefix)
				if _, twice := seen[key]; !ok || twice {
					continue
				}
				seen[key] = struct{}{}
				tick, err := s.LastTick(ctx, key)
				if !yield(KeyTick{key, tick}, err) || err != nil {
					return
				}
			}
		}
	}
}
