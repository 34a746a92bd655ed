package redisstore

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/jobguard/jobguard/guard/lease"
)

var _ lease.Operator = (*Store)(nil)

// Mode is how a key is held.
type Mode = lease.Mode

// The modes.
const (
	ModeFree      = lease.ModeFree
	ModeExclusive = lease.ModeExclusive
	ModeLimit     = lease.ModeLimit
	ModeShared    = lease.ModeShared
	ModeClosed    = lease.ModeClosed
	ModeForeign   = lease.ModeForeign
)

// Holder is one of a key's holders. Its token is 0: the server does not keep it.
type Holder = lease.Holder

// Waiter is a candidate in the queue of a key: one process, with all its callers.
type Waiter = lease.Waiter

// Inspection is what the server knows of a key.
type Inspection = lease.Inspection

const (
	// membersPage is how many waiters, and holders, one script returns: no command takes
	// more than about a millisecond, however long the queue is.
	membersPage = 1000
	// membersListed is the same for each key that List inspects.
	membersListed = 100
)

// Inspect returns who holds key and who waits for it. It only reads; a free key is no
// error. Given a client of a replica, or a ClusterClient with ReadOnly, it asks the
// replica, which may be behind. What it returns was true at one moment, but for what
// is beyond the first 1000 waiters and holders, which is read in pages.
//
// The user of the server needs evalsha_ro, eval_ro and getrange beside the permissions of a
// Store.
func (s *Store) Inspect(ctx context.Context, key string) (Inspection, error) {
	names := namesOf(s.prefix, key)
	o := inspection(names, membersPage)
	s.router.do(ctx, false, o)
	i, err := s.inspected(ctx, names, o, membersPage)
	if err == nil {
		err = s.readOn(ctx, names, &i)
	}
	if err != nil {
		return Inspection{}, fault(ctx, "inspect", err)
	}
	return i.Inspection, nil
}

func inspection(names *names, members int64) *op {
	return inspectScript.call(names, 4, nil, []int64{members}, "")
}

// inspecting is an Inspection that is being read.
type inspecting struct {
	Inspection
	now           int64 // the server's clock, µs
	queue, holder page
}

// page is how far the members of a ZSET have been read.
type page struct {
	seen map[string]bool
	last string // score
}

// inspected is the outcome of o.
func (s *Store) inspected(ctx context.Context, names *names, o *op, members int64) (i inspecting, err error) {
	var values []any
	if err = o.outcome(); moving(err) {
		values, err = s.inspectMoving(ctx, names, members)
	} else if err == nil {
		values, err = o.Slice()
	}
	if err != nil {
		return i, err
	}
	i.Key = names.key
	err = i.read(values)
	return i, err
}

// read parses the reply of inspect.lua.
func (i *inspecting) read(values []any) error {
	r := reader{values: values}
	i.now = r.integer()
	value, held := r.next().(string)
	left := time.Duration(r.integer()) * time.Millisecond
	other := r.integer() == 1
	i.LastToken = int64(score(r.next()))
	i.Waiting = int(r.integer())
	queue, _ := r.next().([]any)
	i.Holding = int(r.integer())
	holders, _ := r.next().([]any)
	if r.err != nil {
		return r.err
	}
	if left < 0 {
		left = -1
	}
	i.readValue(value, held, other, left)
	if i.Holding > 0 {
		i.Holders = nil
		i.Limit = strictest(value)
		if i.Mode = ModeShared; i.Limit > 0 {
			i.Mode = ModeLimit
		}
		i.addHolders(holders)
	} else {
		i.Holding = len(i.Holders)
	}
	i.addWaiters(queue)
	return nil
}

// readValue is for a key with one holder, or none.
func (i *inspecting) readValue(value string, held, other bool, left time.Duration) {
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

func (i *inspecting) addHolders(pairs []any) (added bool) {
	return i.holder.add(pairs, func(owner string, ends float64) {
		if left := time.Duration(ends-float64(i.now)) * time.Microsecond; left > 0 {
			i.Holders = append(i.Holders, lease.HolderOf(owner, left))
		}
	})
}

func (i *inspecting) addWaiters(pairs []any) (added bool) {
	return i.queue.add(pairs, func(owner string, score float64) {
		waited := max(0, time.Duration(i.now-int64(score)/2)*time.Microsecond)
		i.Queue = append(i.Queue, Waiter{Owner: lease.OwnerName(owner), Process: lease.OwnerProcess(owner), Waited: waited})
	})
}

// add passes owner and score of each ZSET member, "<place>;<owner>", to each, once.
func (p *page) add(pairs []any, each func(owner string, score float64)) (added bool) {
	for ; len(pairs) >= 2; pairs = pairs[2:] {
		member, _ := pairs[0].(string)
		p.last, _ = pairs[1].(string)
		_, owner, _ := strings.Cut(member, ";")
		if p.seen[owner] {
			continue
		}
		if p.seen == nil {
			p.seen = make(map[string]bool)
		}
		p.seen[owner], added = true, true
		each(owner, score(p.last))
	}
	return added
}

// readOn reads what is beyond the first page.
func (s *Store) readOn(ctx context.Context, names *names, i *inspecting) error {
	if i.Waiting > len(i.Queue) {
		if err := s.pagesOf(ctx, only(names.queue()), &i.queue, i.addWaiters); err != nil {
			return err
		}
		i.Waiting = len(i.Queue)
	}
	if i.Holding > len(i.Holders) {
		if err := s.pagesOf(ctx, only(names.holders()), &i.holder, i.addHolders); err != nil {
			return err
		}
		i.Holding = len(i.Holders)
	}
	return nil
}

// pagesOf reads on until a page has nothing new. A waiter that comes meanwhile, and a holder
// that renews, is later in the order of scores.
func (s *Store) pagesOf(ctx context.Context, name *names, p *page, add func([]any) bool) error {
	for {
		o := membersScript.call(name, 1, []string{p.last}, []int64{membersPage}, "")
		s.router.do(ctx, false, o)
		if err := o.outcome(); err != nil {
			return err
		}
		pairs, err := o.Slice()
		if err != nil {
			return err
		}
		if !add(pairs) {
			return nil
		}
	}
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

// score reads a score: a script returns text, a command by RESP3 a number; 0 of nil.
func score(v any) float64 {
	switch v := v.(type) {
	case float64:
		return v
	case string:
		f, _ := strconv.ParseFloat(v, 64)
		return f
	}
	return 0
}
