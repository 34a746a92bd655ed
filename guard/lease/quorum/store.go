package quorum

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jobguard/jobguard/guard/lease"
)

// Store is one [lease.Store] over several. It is safe for concurrent use. Stores are
// compared by identity: make one and share it.
type Store struct {
	nodes    []*node
	majority int
	process  string // in owner ids: see id.go
	random   func(n int64) int64

	mu      sync.Mutex // never held across a node's call, nor while a waker runs
	owners  map[string]*owner
	watches map[string]*watch
}

var (
	_ lease.Store        = (*Store)(nil)
	_ lease.Watcher      = (*Store)(nil)
	_ lease.TickStore    = (*Store)(nil)
	_ lease.HolderFinder = (*Store)(nil)
)

// node is one of the stores.
type node struct {
	lease.Store
	watcher lease.Watcher // nil: it cannot wake waiters
	process string        // in the owner ids that it makes

	away    atomic.Bool // its last call failed
	probing atomic.Bool // a call shows whether it is back
}

// New returns a Store over 3, 5 or another odd number of stores, each of which keeps
// its data on a server of its own. The stores must not share a server, and no server may
// replicate another. All processes need the same servers; their order does not matter.
//
// It does no I/O and starts no goroutine. It returns an error for fewer than three
// stores, an even number, a nil store, a quorum, and a store that is given twice, by itself
// or behind a wrapper. Stores that turn out to share a server make Acquire fail.
func New(stores ...lease.Store) (*Store, error) {
	switch n := len(stores); {
	case n < 3:
		return nil, fmt.Errorf("quorum: New: %d stores: need at least 3, so that a majority is left when one is down", n)
	case n%2 == 0:
		return nil, fmt.Errorf("quorum: New: %d stores: need an odd number: %d survive as many losses as %d", n, n-1, n)
	}
	s := &Store{
		majority: len(stores)/2 + 1,
		random:   rand.Int64N,
		owners:   make(map[string]*owner),
		watches:  make(map[string]*watch),
	}
	processes := make([]string, len(stores))
	for i, store := range stores {
		if isNil(store) {
			return nil, fmt.Errorf("quorum: New: store %d is nil", i+1)
		}
		if _, nested := store.(*Store); nested {
			return nil, fmt.Errorf("quorum: New: store %d is a quorum itself: give New the stores that it has", i+1)
		}
		n := &node{Store: store, process: lease.OwnerProcess(store.NewOwner(""))}
		n.watcher, _ = store.(lease.Watcher)
		if j := slices.Index(processes[:i], n.process); j >= 0 { // also behind a wrapper
			return nil, fmt.Errorf("quorum: New: store %d is store %d again: each needs a server of its own", i+1, j+1)
		}
		if n.process == "" || strings.Contains(n.process, joint) {
			return nil, fmt.Errorf("quorum: New: store %d, a %T, makes owner ids of another form than lease.OwnerID", i+1, store)
		}
		s.nodes = append(s.nodes, n)
		processes[i] = n.process
	}
	s.process = strings.Join(processes, joint)
	return s, nil
}

func isNil(store lease.Store) bool {
	if store == nil {
		return true
	}
	switch v := reflect.ValueOf(store); v.Kind() { //nolint:exhaustive // the others are never nil
	case reflect.Pointer, reflect.Map, reflect.Func, reflect.Chan, reflect.Slice:
		return v.IsNil()
	default:
		return false
	}
}

// heard notes the outcome of a call. A node that refuses is not away.
func (n *node) heard(err error) { n.away.Store(err != nil && !errors.Is(err, lease.ErrRefused)) }

// jitter returns a time from d/2 to d.
func (s *Store) jitter(d time.Duration) time.Duration {
	return d/2 + time.Duration(s.random(int64(d/2)+1))
}

// errLimit says why a Limit is refused.
func errLimit(limit lease.Limit) error {
	return fmt.Errorf("quorum: Limit(%d) cannot be kept over several servers, since any two majorities share one server only, "+
		"and each server counts for itself: of 3 servers with 2 permits each, 3 holders get 2 servers each; "+
		"Limit(1), Shared and exclusive leases work: %w", limit, lease.ErrRefused)
}
