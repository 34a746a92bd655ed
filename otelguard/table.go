package otelguard

import (
	"maps"
	"sync"
	"sync/atomic"
)

// table holds what belongs to keys that the program chooses, made when a key is
// first asked for. It has room for so many: ids among the keys must not fill the
// memory, nor must a metric get more series than the SDK keeps apart. The last place
// is for rest, which all keys share that come too late.
//
// Reading takes no lock and allocates nothing.
type table[K comparable, V any] struct {
	room int
	rest K
	make func(K) V

	now     atomic.Pointer[map[K]V] // replaced, never changed
	growing sync.Mutex              // held while it is replaced
}

func newTable[K comparable, V any](room int, rest K, of func(K) V) *table[K, V] {
	t := &table[K, V]{room: room, rest: rest, make: of}
	t.now.Store(&map[K]V{})
	return t
}

// of returns what belongs to key, or to rest if there is no room for key.
func (t *table[K, V]) of(key K) V {
	now := *t.now.Load()
	if v, there := now[key]; there {
		return v
	}
	if len(now) == t.room {
		return now[t.rest]
	}
	return t.grow(key)
}

func (t *table[K, V]) grow(key K) V {
	t.growing.Lock()
	defer t.growing.Unlock()
	now := *t.now.Load()
	free := t.room - len(now)
	if _, there := now[t.rest]; !there {
		free--
	}
	if _, there := now[key]; !there && free == 0 {
		return t.addLocked(t.rest)
	}
	return t.addLocked(key)
}

// addLocked returns what belongs to key, made unless it is there.
func (t *table[K, V]) addLocked(key K) V {
	now := *t.now.Load()
	if v, there := now[key]; there {
		return v
	}
	next, v := maps.Clone(now), t.make(key)
	next[key] = v
	t.now.Store(&next)
	return v
}

// all returns what there is.
func (t *table[K, V]) all() map[K]V { return *t.now.Load() }
