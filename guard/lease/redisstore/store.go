package redisstore

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strconv"
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
	single  bool // one node: PUBLISH counts every listener

	replicas int
	sequence atomic.Uint64
	router   *router
	clock    *clock
	inbox    *inbox
	unwanted chan struct{} // a place for each unwanted being released
}

var (
	_ lease.Store   = (*Store)(nil)
	_ lease.Watcher = (*Store)(nil)
)

// New returns a Store over client: *redis.Client, single node or from
// NewFailoverClient, or *redis.ClusterClient. It does no I/O and starts no
// goroutine, and the Store never closes the client. A nil client panics, and so
// does a *redis.Ring, which would move leases to another node, with nobody
// knowing, whenever it believes one to be down.
//
// Callers get their answer by their deadline whatever the client's
// ContextTimeoutEnabled says. A *redis.ClusterClient, or another type that wraps
// one, should have it set all the same, so that connections that hang are given
// up as soon as their callers are. Add hooks to the client before New.
func New(client redis.UniversalClient, opts ...Option) *Store {
	if v := reflect.ValueOf(client); client == nil || v.Kind() == reflect.Pointer && v.IsNil() {
		panic("redisstore: New: nil client")
	}
	if _, ok := client.(*redis.Ring); ok {
		panic("redisstore: New: a redis.Ring is not supported: its keys change their node when one fails, and leases would be granted twice")
	}
	c := defaults()
	for _, opt := range opts {
		if opt == nil {
			panic("redisstore: an Option is nil")
		}
		opt(&c)
	}
	node, single := client.(*redis.Client)
	inline := false
	if single {
		node, inline = withDeadlines(node)
		client = node
	}
	s := &Store{
		prefix:   c.prefix,
		inboxes:  c.prefix + "inbox:",
		owner:    c.owner,
		process:  uuid.NewString(),
		replicas: c.replicas,
		single:   single,
		router:   newRouter(client, inline, c),
		clock:    newClock(),
		unwanted: make(chan struct{}, maxUnwanted),
	}
	// Where replicas must have a grant before it counts, a message is not enough.
	s.inbox = newInbox(client, s.inboxes+s.process, c.replicas == 0, s.releaseUnwanted)
	return s
}

// NewOwner implements [lease.Store]. '|' and control characters in metadata are
// dropped.
func (s *Store) NewOwner(metadata string) string {
	return lease.OwnerID(s.process, strconv.FormatUint(s.sequence.Add(1), 36), s.owner, metadataText(metadata))
}

// lateTries bounds how often one Acquire is sent because the server found it
// late: at first, when its clock is not known, and after its clock stepped.
const lateTries = 4

// Acquire implements [lease.Store]. The first one for a node takes a second
// round trip, to learn the server's clock.
func (s *Store) Acquire(ctx context.Context, r lease.AcquireRequest) (lease.AcquireReply, error) {
	names := namesOf(s.prefix, r.Key)
	for range lateTries {
		reply, err := s.acquireOnce(ctx, names, r)
		if err != nil {
			return lease.AcquireReply{}, fault(ctx, "acquire", err)
		}
		if reply.status == statusLate {
			if err := ctx.Err(); err != nil {
				return lease.AcquireReply{}, fault(ctx, "acquire", err)
			}
			continue
		}
		if reply.Granted {
			s.inbox.finished(r.Owner)
		} else if r.Join {
			s.inbox.waits(r.Owner, entry{key: r.Key, limit: r.Limit, reservation: r.Reservation}, reply.sent, reply.server)
		}
		return reply.AcquireReply, nil
	}
	return lease.AcquireReply{}, fault(ctx, "acquire", errLate)
}

var errLate = errors.New("the server found every attempt late: does its clock jump?")

func (s *Store) acquireOnce(ctx context.Context, names names, r lease.AcquireRequest) (acquired, error) {
	deadline, bounded := ctx.Deadline()
	clockSlot := s.clockSlot(names.slot)
	sent := time.Now()
	script := acquireScript
	if r.Limit != lease.Exclusive {
		script = acquireLimitScript
	}
	numbers := [...]int64{millis(r.TTL), s.clock.notAfter(clockSlot, deadline, bounded), int64(max(1, r.TokenCount))}
	o := script.call(names, 4, []string{r.Owner}, numbers[:], s.queueArgument(r.Limit, millis(r.Reservation), 0, r.Join, r.Ticket))
	s.router.do(ctx, s.replicas > 0, o)
	if err := o.outcome(); err != nil {
		return acquired{}, err
	}
	reply, err := readAcquired(o)
	if err != nil {
		return acquired{}, err
	}
	reply.sent = sent
	s.clock.learn(clockSlot, reply.server, s.clock.at(sent), reply.status == statusLate)
	if reply.Granted {
		err = s.checkAcks(o)
	}
	return reply, err
}

// queueArgument is what scripts need only where there is a line or several
// holders: ARGV[5] of acquire.lua, in one piece.
func (s *Store) queueArgument(limit lease.Limit, reservation, closed int64, join bool, ticket int64) string {
	b := make([]byte, 0, 64+len(s.inboxes))
	for _, n := range [...]int64{int64(limit), reservation, closed, bit(join), ticket, bit(s.single && s.inbox.listening()), bit(s.single)} {
		b = strconv.AppendInt(b, n, 10)
		b = append(b, ',')
	}
	return string(append(b, s.inboxes...))
}

func bit(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// clockSlot is where the clock of a slot's node is remembered.
func (s *Store) clockSlot(slot int) int {
	if s.router.cluster == nil {
		return 0
	}
	return slot
}

// Renew implements [lease.Store]. Requests for the same node travel together.
func (s *Store) Renew(ctx context.Context, rs []lease.RenewRequest) []lease.RenewReply {
	ops := make([]*op, len(rs))
	for i, r := range rs {
		ops[i] = s.renewal(r)
	}
	s.router.do(ctx, s.replicas > 0, ops...)
	replies := make([]lease.RenewReply, len(rs))
	for i, o := range ops {
		reply, err := s.renewed(o)
		if err != nil {
			reply = lease.RenewReply{Err: fault(ctx, "renew", err)}
		}
		replies[i] = reply
	}
	return replies
}

func (s *Store) renewal(r lease.RenewRequest) *op {
	if r.Limit == lease.Exclusive {
		return renewScript.call(leaseOnly(s.prefix, r.Key), 1, []string{r.Owner}, []int64{millis(r.TTL)}, "")
	}
	numbers := [...]int64{millis(r.TTL), 0, 0}
	return renewLimitScript.call(namesOf(s.prefix, r.Key), 3, []string{r.Owner}, numbers[:], s.queueArgument(r.Limit, 0, 0, false, 0))
}

func (s *Store) renewed(o *op) (lease.RenewReply, error) {
	if err := o.outcome(); err != nil {
		return lease.RenewReply{}, err
	}
	reply, err := readRenewed(o)
	if err == nil && reply.Held {
		err = s.checkAcks(o)
	}
	return reply, err
}

// Release implements [lease.Store]. It is sent once: the caller repeats it,
// knowing that 0 after an unanswered attempt may be its own doing.
func (s *Store) Release(ctx context.Context, r lease.ReleaseRequest) (lease.ReleaseReply, error) {
	names := namesOf(s.prefix, r.Key)
	reservation, closed := millis(r.Reservation), millis(r.KeepClosed)
	marker := ""
	if closed > 0 {
		marker = lease.ClosedMarker(r.Owner)
	}
	script := releaseScript
	if r.Limit != lease.Exclusive {
		script = releaseLimitScript
	}
	numbers := [...]int64{r.Fence, r.LastFence}
	o := script.call(names, 4, []string{r.Owner, marker}, numbers[:], s.queueArgument(r.Limit, reservation, closed, false, 0))
	s.router.do(ctx, false, o)
	err := o.outcome()
	if err != nil && r.Limit == lease.Exclusive && redis.HasErrorPrefix(err, "TRYAGAIN") {
		o, err = s.releaseMoving(ctx, names, r.Owner, reservation, marker, closed)
	}
	if err != nil {
		return lease.ReleaseReply{}, fault(ctx, "release", err)
	}
	n, err := o.Int64()
	if err != nil {
		return lease.ReleaseReply{}, fault(ctx, "release", err)
	}
	s.inbox.finished(r.Owner)
	return lease.ReleaseReply{Released: n == 1}, nil
}

// releaseMoving releases while the slot is on its way to another node, and its
// keys cannot be used together.
func (s *Store) releaseMoving(ctx context.Context, names names, owner string, reservation int64, marker string, closed int64) (*op, error) {
	leave := newOp(names.lease(), "zrem", names.queue(), member(owner, reservation))
	free := releaseOneScript.call(names, 1, []string{owner, marker}, []int64{closed}, "")
	s.router.do(ctx, false, leave, free)
	return free, errors.Join(leave.outcome(), free.outcome())
}

// member is an exclusive owner's entry in the line, as queue.lua writes it.
func member(owner string, reservation int64) string {
	return fmt.Sprintf("%d,%d;%s", reservation, lease.Exclusive, owner)
}

// enough turns a write that too few replicas have into an error.
func (s *Store) checkAcks(o *op) error {
	if o.acked < s.replicas {
		return fmt.Errorf("acknowledged by %d of %d replicas", o.acked, s.replicas)
	}
	return nil
}

// millis rounds up, so that the server never ends a lease before its owner does.
func millis(d time.Duration) int64 {
	return int64((d + time.Millisecond - 1) / time.Millisecond)
}

// withDeadlines returns a client over the same connections and with the same hooks
// whose socket operations keep to their context's deadline, which they do not
// by default, and whether nothing else could hold up a command: code of the
// user's that runs when a connection is made knows no deadline.
func withDeadlines(client *redis.Client) (_ *redis.Client, always bool) {
	o := client.Options()
	always = o.OnConnect == nil && o.CredentialsProvider == nil && o.CredentialsProviderContext == nil &&
		o.StreamingCredentialsProvider == nil
	if o.ContextTimeoutEnabled {
		return client, always
	}
	// A clone made for this purpose has options of its own. go-redis has no
	// other way to ask for it.
	clone := client.WithTimeout(o.ReadTimeout)
	clone.Options().ContextTimeoutEnabled = true
	return clone, always
}
