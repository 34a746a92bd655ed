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
// may be missing. The order is the server's. Of each key it names the first 100 waiters
// and holders, and counts the others.
//
// It scans every master, in pages of 500 keys, and keeps 8 bytes of each key that it has
// seen. An error ends it, and so does ctx, between two pages. With Prefix("") it lists
// every string and every key of another type in the database.
//
// The user of the server needs scan beside what [Store.Inspect] needs.
func (s *Store) List(ctx context.Context, pattern string) iter.Seq2[Inspection, error] {
	return func(yield func(Inspection, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		seed, seen := maphash.MakeSeed(), make(map[uint64]struct{})
		for page, err := range s.pages(ctx, "", pattern) {
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
	all, ops := make([]*names, len(keys)), make([]*op, len(keys))
	for i, key := range keys {
		all[i] = namesOf(s.prefix, key)
		ops[i] = inspection(all[i], membersListed)
	}
	s.router.do(ctx, false, ops...)
	for n, o := range ops {
		i, err := s.inspected(ctx, all[n], o, membersListed)
		switch {
		case err != nil:
			yield(Inspection{}, fault(ctx, "list", err))
			return false
		case i.Mode == ModeFree && i.Waiting == 0: // ended meanwhile
		case !yield(i.Inspection, nil):
			return false
		}
	}
	return true
}

// patterns are those of the names whose user key matches pattern, behind the prefix and kind,
// which is a pattern itself. User keys that look like a companion have an escape, which only "*"
// matches.
func (s *Store) patterns(kind, pattern string) []string {
	if pattern == "" {
		pattern = "*"
	}
	all := []string{escapeGlob(s.prefix) + kind + pattern}
	if !strings.HasPrefix(pattern, "*") {
		all = append(all, escapeGlob(s.prefix)+kind+escapePrefix+pattern)
	}
	return all
}

// pages yields the names that match, from every master, one after the other.
func (s *Store) pages(ctx context.Context, kind, pattern string) iter.Seq2[[]string, error] {
	return func(yield func([]string, error) bool) {
		nodes, err := s.masters(ctx)
		if err != nil {
			yield(nil, err)
			return
		}
		for _, node := range nodes {
			for _, match := range s.patterns(kind, pattern) {
				if !scan(ctx, node, match, yield) {
					return
				}
			}
		}
	}
}

// scan yields the names that match, from one node. It returns false when that is the end.
func scan(ctx context.Context, node redis.Cmdable, match string, yield func([]string, error) bool) bool {
	for cursor := uint64(0); ; {
		page, next, err := node.Scan(ctx, cursor, match, scanPage).Result()
		if !yield(page, err) || err != nil {
			return false
		}
		if cursor = next; cursor == 0 {
			return true
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
	return func(yield func(KeyTick, error) bool) {
		seen := make(map[string]struct{}) // schedules are few
		for page, err := range s.pages(ctx, "tick:{*}:", pattern) {
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
