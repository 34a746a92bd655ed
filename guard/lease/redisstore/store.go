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
	single  bool // one node: PUBSUB NUMSUB counts all subscribers

	replicas int
	sequence atomic.Uint64
	router   *router
	clock    *clock
	inbox    *inbox
	unwanted chan struct{} // semaphore of releaseUnwanted
}

var (
	_ lease.Store   = (*Store)(nil)
	_ lease.Watcher = (*Store)(nil)
)

// New returns a Store over client: *redis.Client, single node or from
// NewFailoverClient, or *redis.ClusterClient. It does no I/O and starts no
// goroutine, and the Store never closes the client. New panics if the client or an
// Option is nil, if an Option has a value out of bounds, and for a *redis.Ring, which
// moves keys to another node when it considers theirs down. Add hooks to the client
// before New.
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
	// With ReplicaAck a grant counts only once replicas have it: a message is not enough.
	s.inbox = newInbox(client, s.inboxes+s.process, c.replicas == 0, s.releaseUnwanted)
	return s
}

// NewOwner implements [lease.Store]. '|' and control characters in metadata are
// dropped.
func (s *Store) NewOwner(metadata string) string {
	return lease.OwnerID(s.process, strconv.FormatUint(s.sequence.Add(1), 36), s.owner, metadataText(metadata))
}

// lateTries bounds how often one Acquire is sent because the server refused it as
// late: at first, while the server's clock is not known, and after the clock stepped.
const lateTries = 4

// Acquire implements [lease.Store]. The first call for a node takes two round trips:
// one to learn the server's clock.
func (s *Store) Acquire(ctx context.Context, r lease.AcquireRequest) (lease.AcquireReply, error) {
	names := namesOf(s.prefix, r.Key)
	var unanswered time.Time // by a try before
	for range lateTries {
		reply, err := s.acquireOnce(ctx, names, r)
		if err != nil {
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
		if reply.Granted {
			s.inbox.finished(r.Owner)
		} else if r.Join {
			s.inbox.waiting(r.Owner, candidate{key: r.Key, limit: r.Limit, reservation: r.Reservation}, reply.Sent, reply.server)
		}
		return reply.AcquireReply, nil
	}
	return lease.AcquireReply{}, fault(ctx, "acquire", errLate)
}

var errLate = errors.New("the server refused every attempt as late: does its clock jump?")

func (s *Store) acquireOnce(ctx context.Context, names names, r lease.AcquireRequest) (acquired, error) {
	deadline, bounded := ctx.Deadline()
	clockSlot := s.clockSlot(names.slot)
	script := acquireScript
	if r.Limit != lease.Exclusive {
		script = acquireLimitScript
	}
	numbers := [...]int64{millis(r.TTL), s.clock.notAfter(clockSlot, deadline, bounded), int64(max(1, r.TokenCount))}
	o := script.call(names, 4, []string{r.Owner}, numbers[:], s.queueArgument(r.Limit, millis(r.Reservation), 0, r.Join, r.Ticket))
	o.kind = acquiring
	if attempt, ok := ctx.(*lease.Attempt); ok && attempt.Timeout() > 0 {
		o.onSend = func(deadline time.Time) { o.numbers[1] = s.clock.notAfter(clockSlot, deadline, true) }
	}
	s.router.do(ctx, s.replicas > 0, o)
	if err := o.outcome(); err != nil {
		return acquired{}, err
	}
	reply, err := readAcquired(o)
	if err != nil {
		return acquired{}, err
	}
	reply.Sent = o.final().sent
	if o.resent {
		reply.Unanswered, _ = ctx.Deadline()
	}
	s.clock.learn(clockSlot, reply.server, s.clock.at(reply.Sent), reply.status == statusLate)
	if reply.Granted {
		err = s.checkAcks(o)
	}
	return reply, err
}

// queueArgument is ARGV[5] of acquire.lua, which scripts parse only if there is a
// queue or there are several holders.
func (s *Store) queueArgument(limit lease.Limit, reservation, keepClosed int64, join bool, ticket int64) string {
	b := make([]byte, 0, 64+len(s.inboxes))
	for _, n := range [...]int64{int64(limit), reservation, keepClosed, bit(join), ticket, bit(s.single && s.inbox.listening()), bit(s.single)} {
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

// clockSlot returns the slot under which the clock of a slot's node is kept.
func (s *Store) clockSlot(slot int) int {
	if s.router.cluster == nil {
		return 0
	}
	return slot
}

// Renew implements [lease.Store]. Requests to one node share a round trip.
func (s *Store) Renew(ctx context.Context, rs []lease.RenewRequest) []lease.RenewReply {
	ops := make([]*op, len(rs))
	for i, r := range rs {
		ops[i] = s.renewal(r)
		ops[i].kind = renewing
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
	reply.Sent = o.final().sent
	if err == nil && reply.Held {
		err = s.checkAcks(o)
	}
	return reply, err
}

// Release implements [lease.Store]. If the caller repeats it after an error, Released
// may be false because the first attempt took effect.
func (s *Store) Release(ctx context.Context, r lease.ReleaseRequest) (lease.ReleaseReply, error) {
	names := namesOf(s.prefix, r.Key)
	reservation, keepClosed := millis(r.Reservation), millis(r.KeepClosed)
	marker := ""
	if keepClosed > 0 {
		marker = lease.ClosedMarker(r.Owner)
	}
	script := releaseScript
	if r.Limit != lease.Exclusive {
		script = releaseLimitScript
	}
	numbers := [...]int64{r.Fence, r.LastFence}
	o := script.call(names, 4, []string{r.Owner, marker}, numbers[:], s.queueArgument(r.Limit, reservation, keepClosed, false, 0))
	s.router.do(ctx, false, o)
	err, resent := o.outcome(), o.resent
	if err != nil && r.Limit == lease.Exclusive && redis.HasErrorPrefix(err, "TRYAGAIN") {
		o, err = s.releaseMoving(ctx, names, r.Owner, reservation, marker, keepClosed)
		resent = resent || o.resent
	}
	if err != nil {
		return lease.ReleaseReply{}, fault(ctx, "release", err)
	}
	n, err := o.Int64()
	if err != nil {
		return lease.ReleaseReply{}, fault(ctx, "release", err)
	}
	s.inbox.finished(r.Owner)
	return lease.ReleaseReply{Released: n == 1, Resent: resent}, nil
}

// releaseMoving releases while a Cluster moves the slot, when a script with several
// keys fails with TRYAGAIN.
func (s *Store) releaseMoving(ctx context.Context, names names, owner string, reservation int64, marker string, keepClosed int64) (*op, error) {
	leave := newOp(names.lease(), "zrem", names.queue(), member(owner, reservation))
	free := releaseOneScript.call(names, 1, []string{owner, marker}, []int64{keepClosed}, "")
	s.router.do(ctx, false, leave, free)
	return free, errors.Join(leave.outcome(), free.outcome())
}

// member is an exclusive owner's member of the queue, as queue.lua writes it.
func member(owner string, reservation int64) string {
	return fmt.Sprintf("%d,%d;%s", reservation, lease.Exclusive, owner)
}

// checkAcks returns an error if too few replicas have the write.
func (s *Store) checkAcks(o *op) error {
	if acked := o.final().acked; acked < s.replicas {
		return fmt.Errorf("acknowledged by %d of %d replicas", acked, s.replicas)
	}
	return nil
}

// millis rounds up: a lease must not end on the server before its owner's trust.
func millis(d time.Duration) int64 {
	return int64((d + time.Millisecond - 1) / time.Millisecond)
}

// withDeadlines returns a client over the same connections, with the same hooks,
// whose socket operations obey their context's deadline, which is not the default.
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
	// WithTimeout makes a clone with options of its own; go-redis has no other way.
	clone := client.WithTimeout(timeout)
	clone.Options().ContextTimeoutEnabled = true
	return clone, always
}
