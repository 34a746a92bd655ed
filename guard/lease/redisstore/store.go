package redisstore

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"reflect"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"github.com/jobguard/jobguard/guard/lease"
)

// Store keeps leases on Redis. It is safe for concurrent use. Stores are
// compared by identity: make one for each client and prefix, and share it.
type Store struct {
	prefix  string
	inboxes string // channel name without the process id
	owner   string
	process string
	single  bool // one node: PUBSUB NUMSUB counts all subscribers

	replicas int
	sequence atomic.Uint64
	router   *router
	clock    *clock
	inbox    *inbox
	unwanted chan struct{} // semaphore of giveBack
	answers  chan struct{} // semaphore of answer

	names      nameCache
	contention contention
	apart      atomic.Bool // the server refused a script for leases in several slots

	alwaysFirst bool // for tests
}

var (
	_ lease.Store   = (*Store)(nil)
	_ lease.Watcher = (*Store)(nil)
	_ lease.Taker   = (*Store)(nil)
)

// New returns a Store over client: *redis.Client, single node or from
// NewFailoverClient, or *redis.ClusterClient. It does no I/O and starts no
// goroutine, and the Store never closes the client. New panics if the client or an
// Option is nil, if an Option has a value out of bounds, and for a *redis.Ring, which
// moves keys to another node when it considers theirs down.
//
// The hooks of a *redis.Client see what the Store sends only if its options have
// ContextTimeoutEnabled: else the Store uses a clone made by WithTimeout, which has no hooks.
//
// Calls return by their deadline. Of a *redis.Client or *redis.ClusterClient the Store
// copies the options for connections of its own, as many as 32 to a node, which a
// timer closes 5 s after their last use. Set ContextTimeoutEnabled on a *redis.ClusterClient,
// or a type that wraps a client, so that a hanging connection is then given up too.
func New(client redis.UniversalClient, opts ...Option) *Store {
	if v := reflect.ValueOf(client); client == nil || v.Kind() == reflect.Pointer && v.IsNil() {
		panic("redisstore: New: the client is nil")
	}
	if _, ok := client.(*redis.Ring); ok {
		panic("redisstore: New: the client is a redis.Ring: when a node fails its keys move, and leases would be granted twice")
	}
	c := newOptions(opts)
	node, single := client.(*redis.Client)
	inline, hookless := false, false
	if single {
		clone, always := withDeadlines(node)
		inline, hookless = always, clone != node
		client = clone
	}
	s := &Store{
		prefix:   c.prefix,
		inboxes:  c.prefix + "inbox:",
		owner:    c.owner,
		process:  newProcessID(),
		replicas: c.replicas,
		single:   single,
		router:   newRouter(client, inline, hookless, c),
		clock:    newClock(),
		unwanted: make(chan struct{}, maxUnwanted),
		answers:  make(chan struct{}, maxUnwanted),
	}
	s.contention.base = time.Now()
	// With ReplicaAck a grant counts only once replicas have it: a message is not enough.
	s.inbox = newInbox(client, s.inboxes+s.process, single, c.replicas == 0, s.giveBack)
	s.inbox.answer = s.answer
	return s
}

// newProcessID is a UUID in 22 characters: every lease keeps them, and so does Redis.
func newProcessID() string {
	id := uuid.New()
	return base64.RawURLEncoding.EncodeToString(id[:])
}

// NewOwner implements [lease.Store]. '|' and control characters in metadata are
// dropped.
func (s *Store) NewOwner(metadata string) string {
	return lease.OwnerID(s.process, s.sequence.Add(1), s.owner, metadataText(metadata))
}

// lateTries bounds how often one Acquire is sent because the server refused it as
// late: at first, while the server's clock is not known, and after the clock stepped.
const lateTries = 4

// Acquire implements [lease.Store]. The first call for a node takes two round trips:
// one to learn the server's clock.
func (s *Store) Acquire(ctx context.Context, r lease.AcquireRequest) (lease.AcquireReply, error) {
	names := s.names.of(s.prefix, r.Key)
	var unanswered time.Time // by a try before
	left := false            // by a first try
	if s.triesFirst(ctx, names.slot, r) {
		reply, without, err := s.tryFirst(ctx, names, r)
		if err != nil {
			return lease.AcquireReply{}, fault(ctx, "acquire", err)
		}
		if reply.Granted {
			s.inbox.granted(r.Owner)
			return reply, nil
		}
		unanswered, left = reply.Unanswered, without
	}
	for range lateTries {
		reply, err := s.acquireOnce(ctx, names, r)
		if err != nil && left { // if this fails, it expires
			_, _ = s.releaseBy(ctx, releaseScript, releasing{names: names, owner: r.Owner, from: r.Place})
		}
		if err != nil {
			if r.Join {
				s.inbox.mayWait(r.Owner)
			}
			return lease.AcquireReply{}, fault(ctx, "acquire", err)
		}
		if reply.Unanswered.IsZero() {
			reply.Unanswered = unanswered
		}
		unanswered = reply.Unanswered
		if reply.status == statusLate {
			if err := ctx.Err(); err != nil {
				return lease.AcquireReply{}, fault(ctx, "acquire", err)
			}
			continue
		}
		if reply.status == statusHeld {
			s.contention.note(names.slot)
		}
		if reply.Granted {
			s.inbox.granted(r.Owner)
		} else if r.Join {
			as := message{place: placeText(r.Place, r.Limit), owner: r.Owner, lease: names.lease()}
			reply.Watched = s.inbox.waiting(as, reply.Sent, reply.server)
		}
		return reply.AcquireReply, nil
	}
	return lease.AcquireReply{}, fault(ctx, "acquire", errLate)
}

var errLate = errors.New("the server refused every attempt as late: does its clock jump?")

func (s *Store) acquireOnce(ctx context.Context, names *names, r lease.AcquireRequest) (acquired, error) {
	deadline, bounded := ctx.Deadline()
	clockSlot := s.clockSlot(names.slot)
	script := acquireScript
	if r.Limit != lease.Exclusive {
		script = acquireLimitScript
	}
	numbers := [...]int64{millis(r.TTL), s.clock.notAfter(clockSlot, deadline, bounded), int64(max(1, r.TokenCount))}
	argument := queueArgument{place: placeText(r.Place, r.Limit), ticket: r.Ticket, join: r.Join}
	if r.Join {
		argument.counted, argument.beacon = s.inbox.beacon()
	}
	o := script.call(names, 5, []string{r.Owner}, numbers[:], s.argument(argument))
	o.kind = acquiring
	if attempt, ok := ctx.(*lease.Attempt); ok && attempt.Timeout() > 0 {
		o.onSend = func(deadline time.Time) { o.numbers[1] = s.clock.notAfter(clockSlot, deadline, true) }
	}
	s.router.do(ctx, s.replicas > 0, o)
	if r.Join && o.resent {
		s.inbox.mayWait(r.Owner) // one request may have joined the queue, and the other been granted
	}
	var reply acquired
	err := o.outcome()
	if r.Limit == lease.Exclusive && moving(err) {
		reply, err = s.acquireMoving(ctx, names, r, o.numbers[1])
	} else if err == nil {
		if reply, err = readAcquired(o); reply.Granted && err == nil {
			err = s.checkAcks(o)
		}
	}
	if err != nil {
		return acquired{}, err
	}
	reply.Sent = o.final().sent
	if o.resent {
		reply.Unanswered, _ = ctx.Deadline()
	}
	s.clock.learn(clockSlot, reply.server, s.clock.at(reply.Sent), reply.status == statusLate)
	if argument.beacon != 0 && reply.status == statusHeld {
		s.inbox.published(argument.beacon, reply.receivers)
	}
	return reply, err
}

// clockSlot returns the slot under which the clock of a slot's node is kept.
func (s *Store) clockSlot(slot int) int {
	if s.router.cluster == nil {
		return 0
	}
	return slot
}

// checkAcks returns an error if too few replicas have the write.
func (s *Store) checkAcks(o *op) error {
	if acked := o.final().acked; acked < s.replicas {
		return fmt.Errorf("acknowledged by %d of %d replicas", acked, s.replicas)
	}
	return nil
}

// withDeadlines returns a client over the same connections whose socket operations obey
// their context's deadline, which is not the default.
// always reports whether no code of the user's, which knows no deadline, runs when a
// connection is made.
func withDeadlines(client *redis.Client) (_ *redis.Client, always bool) {
	o := client.Options()
	always = o.OnConnect == nil && o.CredentialsProvider == nil && o.CredentialsProviderContext == nil &&
		o.StreamingCredentialsProvider == nil
	timeout := o.ReadTimeout
	if o.ReadTimeout < 0 || o.WriteTimeout < 0 {
		timeout = 0 // a timeout of -2 in the options switches off the context's deadline too
	} else if o.ContextTimeoutEnabled {
		return client, always
	}
	// WithTimeout makes a clone with options of its own, without the hooks; go-redis has no
	// other way.
	clone := client.WithTimeout(timeout)
	clone.Options().ContextTimeoutEnabled = true
	return clone, always
}
