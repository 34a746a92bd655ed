package redisstore

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/jobguard/jobguard/guard/lease"
)

// Mode is how a key is held.
type Mode string

// The modes.
const (
	ModeFree      Mode = "free"
	ModeExclusive Mode = "exclusive"
	ModeLimit     Mode = "limit"   // by at most Inspection.Limit holders; also beside shared ones
	ModeShared    Mode = "shared"  // by readers
	ModeClosed    Mode = "closed"  // MinHold keeps it closed; a holder says whose
	ModeForeign   Mode = "foreign" // another program's lock, or data of another type
)

// Holder is one of a key's holders. Its token is 0: the server does not keep it.
type Holder = lease.Holder

// Waiter is a candidate in the queue of a key: one process, with all its callers.
type Waiter struct {
	Owner   string // owner name
	Process string // process id
	Waited  time.Duration
}

// Inspection is what the server knows of a key, at one moment.
type Inspection struct {
	Key     string // without the prefix
	Mode    Mode
	Limit   int      // of ModeLimit, the strictest of the holders; else 0
	Holders []Holder // of a limit also permits that MinHold keeps taken; their Process is ""
	Queue   []Waiter // the next one first

	// LastToken is the last fencing token of the key's slot: no token of the key is
	// higher. 0: there is none.
	LastToken int64
}

// Inspect returns who holds key and who waits for it. It only reads; a free key is no
// error. Given a client of a replica, or a ClusterClient with ReadOnly, it asks the
// replica, which may be behind.
//
// The user of the server needs evalsha_ro and eval_ro beside the permissions of a Store.
func (s *Store) Inspect(ctx context.Context, key string) (Inspection, error) {
	o := s.inspection(key)
	s.router.do(ctx, false, o)
	return s.inspected(ctx, key, o)
}

func (s *Store) inspection(key string) *op {
	return inspectScript.call(namesOf(s.prefix, key), 4, nil, nil, "")
}

func (s *Store) inspected(ctx context.Context, key string, o *op) (Inspection, error) {
	err := o.outcome()
	if err == nil {
		var i Inspection
		if i, err = readInspection(o); err == nil {
			i.Key = key
			return i, nil
		}
	}
	return Inspection{}, fault(ctx, "inspect", err)
}

// readInspection parses the reply of inspect.lua.
func readInspection(o *op) (i Inspection, _ error) {
	values, err := o.Slice()
	if err != nil {
		return i, err
	}
	r := reader{values: values}
	now := r.integer()
	value, held := r.next().(string)
	left := time.Duration(r.integer()) * time.Millisecond
	other := r.integer() == 1
	if last, ok := r.next().(string); ok {
		i.LastToken = int64(numeral(last))
	}
	queue, _ := r.next().([]any)
	holders, _ := r.next().([]any)
	if r.err != nil {
		return i, r.err
	}
	if left < 0 {
		left = -1
	}
	i.read(value, held, other, left)
	if len(holders) > 0 {
		i.Holders = nil
		i.Limit = strictest(value)
		if i.Mode = ModeShared; i.Limit > 0 {
			i.Mode = ModeLimit
		}
	}
	for owner, ends := range members(holders) {
		if left := time.Duration(ends-float64(now)) * time.Microsecond; left > 0 {
			i.Holders = append(i.Holders, lease.HolderOf(owner, left))
		}
	}
	for owner, score := range members(queue) {
		waited := max(0, time.Duration(now-int64(score)/2)*time.Microsecond)
		i.Queue = append(i.Queue, Waiter{lease.OwnerName(owner), lease.OwnerProcess(owner), waited})
	}
	return i, nil
}

// read is for a key with one holder, or none.
func (i *Inspection) read(value string, held, other bool, left time.Duration) {
	switch {
	case !held:
		i.Mode = ModeFree
		return
	case other:
		value = "a " + value + " of another program"
		i.Mode = ModeForeign
	case lease.KeptClosed(value):
		i.Mode = ModeClosed
	case lease.OwnerProcess(value) != "":
		i.Mode = ModeExclusive
	default:
		i.Mode = ModeForeign
	}
	i.Holders = []Holder{lease.HolderOf(value, left)}
}

// strictest is the limit in a marker, see queue.lua; 0 of a shared one.
func strictest(marker string) int {
	if !strings.HasPrefix(marker, "limited|") {
		return 0
	}
	limit := strings.TrimSuffix(marker[strings.LastIndexByte(marker, '|')+1:], "+")
	n, _ := strconv.Atoi(limit)
	return n
}

// members yields owner and score of ZSET members, "<place>;<owner>".
func members(pairs []any) func(yield func(string, float64) bool) {
	return func(yield func(string, float64) bool) {
		for ; len(pairs) >= 2; pairs = pairs[2:] {
			member, _ := pairs[0].(string)
			score, _ := pairs[1].(string)
			_, owner, _ := strings.Cut(member, ";")
			if !yield(owner, numeral(score)) {
				return
			}
		}
	}
}

func numeral(s string) float64 {
	f, _ := strconv.ParseFloat(s, 64)
	return f
}
