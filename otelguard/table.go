package otelguard

import (
	"maps"
	"sync"
	"sync/atomic"
)

// table holds a value for each key, made when the key is first asked for. It has
// at most size of them, so that ids among the keys cannot fill the memory, nor give a
// metric more series than the SDK keeps apart. The last one is for rest, which all
// later keys share. Reading takes no lock and allocates nothing.
type table[K comparable, V any] struct {
	size int
	rest K
	make func(K) V

	now     atomic.Pointer[map[K]V] // replaced, never changed
	growing sync.Mutex              // held while it is replaced
}

func newTable[K comparable, V any](size int, rest K, of func(K) V) *table[K, V] {
	t := &table[K, V]{size: size, rest: rest, make: of}
	t.now.Store(&map[K]V{})
	return t
}

// of returns the value of key, or of rest if the table is full.
func (t *table[K, V]) of(key K) V {
	now := *t.now.Load()
	if v, there := now[key]; there {
		return v
	}
	if len(now) == t.size {
		return now[t.rest]
	}
	return t.grow(key)
}

func (t *table[K, V]) grow(key K) V {
	t.growing.Lock()
	defer t.growing.Unlock()
	now := *t.now.Load()
	free := t.size - len(now)
	if _, there := now[t.rest]; !there {
		free--
	}
	if _, there := now[key]; !there && free == 0 {
		return t.addLocked(t.rest)
	}
	return t.addLocked(key)
}

// addLocked returns the value of key, which it makes if there is none.
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

// all returns all values.
func (t *table[K, V]) all() map[K]V { return *t.now.Load() }
