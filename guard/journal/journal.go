package journal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/internal/option"
	"github.com/jobguard/jobguard/guard/internal/terms"
	"github.com/jobguard/jobguard/guard/journal/record"
)

// Log keeps the records: redislog.Log, sqllog.Log, guardtest.Log.
type Log = record.Log

// Record is what the log knows of a run: ID, Kind, Key, Payload, Checkpoint, Reason, Fence,
// LatestFence, Attempt, Started and Err, as [record.Record] describes them.
type Record = record.Record

// Reason is why a run needs compensation.
type Reason = record.Reason

// The reasons.
const (
	Abandoned  = record.Abandoned // its process crashed or was cut off, or fn never began
	Failed     = record.Failed    // fn returned an error, panicked or exited
	Late       = record.Late      // fn ended after its lease was lost, or after its compensation had begun
	Mismatched = record.Mismatch  // there was no run: Check found that log and data differ
)

// Stats counts records: Open, Dead, and the age of the Oldest open one. See [record.Stats].
type Stats = record.Stats

// Op is what a run intends.
type Op struct {
	Kind    string // which handler compensates it; low in cardinality, at most 64 bytes, no control characters
	Payload []byte // for the handler; at most 64 KiB together with the checkpoint
}

func (op Op) check() error {
	if op.Kind == "" || len(op.Kind) > 64 || strings.ContainsFunc(op.Kind, unicode.IsControl) {
		return fmt.Errorf("journal: the kind %.80q: need 1 to 64 bytes without control characters", op.Kind)
	}
	if len(op.Payload) > record.Most {
		return fmt.Errorf("%w: the payload has %d bytes", ErrTooLarge, len(op.Payload))
	}
	return nil
}

// Journal runs functions under leases and records them. It is safe for concurrent use.
type Journal struct {
	guard *guard.Guard
	name  string // of guard, for observers
	log   Log
	opts  options
	ttl   time.Duration

	patient *guard.Guard // for the sweeper: it stops no run, and keeps no key closed

	mu       sync.RWMutex // guards the rest
	handlers map[string]func(context.Context, Record) error
	strange  map[string]bool // kinds whose runs were left open without a handler, as was said
}

// New returns a Journal over log, whose runs go on under g. It refuses a guard with
// Limit or Shared, whose runs have no key to themselves, and options that are out of
// bounds. It does no I/O and starts no goroutine. A nil g or log panics.
func New(g *guard.Guard, log Log, opts ...Option) (*Journal, error) {
	if g == nil {
		panic("journal: nil Guard")
	}
	if v := reflect.ValueOf(log); log == nil || v.Kind() == reflect.Pointer && v.IsNil() {
		panic("journal: nil Log")
	}
	has := terms.Of(g)
	if !has.Exclusive {
		return nil, errors.New("journal: the guard has Limit or Shared: who is granted the key then does not have it alone")
	}
	o, err := option.Apply(defaults, "an Option", opts)
	if err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	patient := g.With(guard.MinHold(0), guard.Name(sweepName(has.Name)), terms.NoReplace.(guard.Option)) //nolint:forcetypeassert // it is one
	j := &Journal{
		guard: g, name: has.Name, patient: patient, log: log, opts: o, ttl: has.TTL,
		handlers: make(map[string]func(context.Context, Record) error),
		strange:  make(map[string]bool),
	}
	j.watch()
	return j, nil
}

// sweepName is the name under which a sweeper acquires keys: it often finds the key of a
// long run held, which says nothing of how the runs get theirs.
func sweepName(name string) string {
	if name == "" {
		return "journal"
	}
	return name + " journal"
}

// Handle registers the handler of a kind. [Journal.Run] calls it, or Do of an
// [Ordered] journal, under the record's key, with a fencing token of its own: the
// context is like fn's. It is called at least once for each run that did not end well,
// and must be idempotent by record id and reason; Abandoned may mean that fn never
// began. An error or a panic means that it is called again, later.
//
// A record whose kind has no handler in any process stays open. A process that has handlers,
// and none for the kind of a run that failed or lost its lease, says so once, with log/slog at
// level Warn: the kind may be mistyped. A second handler of a kind, an empty kind or a nil handler
// panics.
func (j *Journal) Handle(kind string, h func(context.Context, Record) error) {
	if err := (Op{Kind: kind}).check(); err != nil {
		panic(err.Error())
	}
	if h == nil {
		panic("journal: nil handler")
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.handlers[kind] != nil {
		panic(fmt.Sprintf("journal: the kind %q has a handler", kind))
	}
	j.handlers[kind] = h
}

// unhandled says, once for each kind, that the record of a run is left open for a handler
// that this process does not have.
func (j *Journal) unhandled(ctx context.Context, r Record) {
	const most = 100 // kinds: an op's may come from outside
	j.mu.Lock()
	said := j.handlers[r.Kind] != nil || len(j.handlers) == 0 || j.strange[r.Kind] || len(j.strange) == most
	if !said {
		j.strange[r.Kind] = true
	}
	j.mu.Unlock()
	if !said {
		slog.WarnContext(ctx, "journal: a run did not end well, and no handler here is for its kind: its record stays open until a process has one",
			"kind", r.Kind, "id", r.ID)
	}
}

func (j *Journal) handler(kind string) func(context.Context, Record) error {
	j.mu.RLock()
	defer j.mu.RUnlock()
	return j.handlers[kind]
}

// kinds returns those that have a handler.
func (j *Journal) kinds() []string {
	j.mu.RLock()
	defer j.mu.RUnlock()
	kinds := make([]string, 0, len(j.handlers))
	for kind := range j.handlers {
		kinds = append(kinds, kind)
	}
	return kinds
}
