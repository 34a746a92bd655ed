package redisstore

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/jobguard/jobguard/guard/internal/backoff"
	"github.com/jobguard/jobguard/guard/lease"
)

const (
	// linger is how long the subscription outlives the last watched owner, so that
	// contention does not subscribe again and again.
	linger = 250 * time.Millisecond
	// silence is how long the connection may be idle before a PING is sent; after as
	// much again without a reply it is given up.
	silence = time.Second
	// Pause before the next attempt to subscribe: doubling, half of it random; a
	// missing permission is tried again after forbiddenPause.
	firstPause, lastPause = 50 * time.Millisecond, time.Second
	forbiddenPause        = 30 * time.Second
)

// inbox receives wake-ups for the owners of one process. Waiters poll as well: a
// lost message costs time only.
//
// Its goroutine is started by the first watched owner that has to wait, or the first
// listener, and stopped by a timer, linger after the last watch ended, or the end of the
// last listener. See docs/design/redisstore-queue.md.
type inbox struct {
	client   redis.UniversalClient
	channel  string
	single   bool          // the server that a beacon is sent to counts all subscribers
	trusting bool          // a wake-up is enough to start on a grant
	unwanted func(message) // gives back a grant to an owner that is not here; called on the inbox's goroutine
	answer   func(message) // says that a message to stop has arrived; called likewise

	current atomic.Pointer[subscription] // nil until an owner has to wait; changed under mu

	mu      sync.Mutex // never held while wake or unwanted runs
	owners  map[string]ownerState
	watched int // owners with a watch
	stop    *time.Timer

	listeners map[*listener]struct{}
}

// ownerState is kept of an owner while it is watched, and from its first request that
// brought no grant until its release: a grant may be announced to it. A grant to any
// other owner of this process is unwanted.
type ownerState struct {
	wake    lease.Waker // nil: not watched
	queued  bool        // it may be, or have been, in the queue
	left    bool        // its watch ended without a grant
	holding bool        // it took its grant: an announcement that arrives later is outdated
	taken   bool        // and counts on it, whatever a request that was under way brings: see Taken
	done    bool        // its release was sent, and it has not asked since
	as      *message    // its place and lease, once it was answered with "wait"

	// The last poll that was answered with "wait".
	polled   time.Time // when it was sent
	answered int64     // when it ran, by the server's clock in µs; 0: never
}

// subscription is one run of the inbox's goroutine.
type subscription struct {
	confirmed atomic.Bool // by the server
	cancel    context.CancelFunc
	beacons
}

func newInbox(client redis.UniversalClient, channel string, single, trusting bool, unwanted func(message)) *inbox {
	return &inbox{
		client:   client,
		channel:  channel,
		single:   single,
		trusting: trusting,
		unwanted: unwanted,
		owners:   make(map[string]ownerState),
	}
}

// Watch implements [lease.Watcher]. wake is called on the goroutine that receives
// messages, one for the whole Store. It starts when a watched owner first has to
// wait, and ends a quarter of a second after the last Unwatch.
func (s *Store) Watch(owner string, w lease.Waker) { s.inbox.watch(owner, w) }

// Unwatch implements [lease.Watcher].
func (s *Store) Unwatch(owner string) { s.inbox.unwatch(owner) }

// Taken implements [lease.Taker].
func (s *Store) Taken(owner string) { s.inbox.taken(owner) }

func (in *inbox) watch(owner string, w lease.Waker) {
	in.mu.Lock()
	defer in.mu.Unlock()
	state := in.owners[owner]
	if state.wake == nil {
		in.watched++
	}
	state.wake, state.left, state.holding, state.taken = w, false, false, false
	in.owners[owner] = state
	if in.stop != nil {
		in.stop.Stop()
	}
}

func (in *inbox) unwatch(owner string) {
	in.mu.Lock()
	defer in.mu.Unlock()
	state := in.owners[owner]
	if state.wake == nil {
		return
	}
	in.watched--
	if state.queued && !state.done {
		state.wake, state.left = nil, !state.holding
		in.owners[owner] = state
	} else {
		delete(in.owners, owner)
	}
	if in.watched == 0 && len(in.listeners) == 0 && in.current.Load() != nil {
		if in.stop == nil {
			in.stop = time.AfterFunc(linger, in.end)
		} else {
			in.stop.Reset(linger)
		}
	}
}

// end stops the goroutine, unless an owner is watched again.
func (in *inbox) end() {
	in.mu.Lock()
	defer in.mu.Unlock()
	if s := in.current.Load(); s != nil && in.watched == 0 && len(in.listeners) == 0 {
		in.current.Store(nil)
		s.cancel()
	}
}

// granted records that owner has the key.
func (in *inbox) granted(owner string) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if state, known := in.owners[owner]; known {
		state.holding, state.left = true, false
		in.owners[owner] = state
	}
}

// taken is granted, and a reply that the owner waits, of a request that was under way,
// changes nothing any more until it is watched again.
func (in *inbox) taken(owner string) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if state, known := in.owners[owner]; known {
		state.holding, state.taken, state.left = true, true, false
		in.owners[owner] = state
	}
}

// mayWait records that owner asked to wait, and that a reply is missing.
func (in *inbox) mayWait(owner string) {
	in.mu.Lock()
	defer in.mu.Unlock()
	state := in.owners[owner]
	state.queued, state.done = true, false
	in.owners[owner] = state
}

// released records that owner's release was sent: a grant that is announced to it from
// now on is unwanted, unless it asks again. A short run ends before its watch does.
func (in *inbox) released(owner string) {
	in.mu.Lock()
	defer in.mu.Unlock()
	switch state, known := in.owners[owner]; {
	case !known:
	case state.wake == nil:
		delete(in.owners, owner)
	default:
		state.done = true
		in.owners[owner] = state
	}
}

// waiting records that an owner waits in the queue, and subscribes if there is no
// subscription. When the server confirms it, all watched owners are woken, which
// makes up for messages missed until then. It reports whether a wake-up would arrive,
// as far as the beacons show.
func (in *inbox) waiting(as message, polled time.Time, answered int64) (sure bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	state := in.owners[as.owner]
	state.queued, state.holding, state.done, state.as = true, state.taken, false, &as
	state.polled, state.answered = polled, answered
	in.owners[as.owner] = state
	if state.wake == nil {
		return false
	}
	s := in.subscribedLocked()
	return s.confirmed.Load() && s.prove(time.Now())
}

// subscribedLocked returns the subscription, begun if need be.
func (in *inbox) subscribedLocked() *subscription {
	s := in.current.Load()
	if s == nil {
		ctx, cancel := context.WithCancel(context.Background())
		s = &subscription{cancel: cancel}
		in.current.Store(s)
		go in.run(ctx, s)
	}
	return s
}

// run keeps the subscription until ctx ends.
func (in *inbox) run(ctx context.Context, s *subscription) {
	for failures := 1; ctx.Err() == nil; failures++ {
		err := in.listen(ctx, s)
		if s.confirmed.Swap(false) {
			failures = 1
		}
		if failures == 2 {
			in.wakeAll(s) // they may have relied on it, and asked rarely
		}
		wait := backoff.Pause(failures, firstPause, lastPause)
		if refused(err) {
			wait = forbiddenPause
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

// listen subscribes and delivers messages until parent ends, the connection breaks, or
// beacons show that messages do not arrive.
func (in *inbox) listen(parent context.Context, s *subscription) (err error) {
	ctx, hangUp := context.WithCancel(parent)
	defer hangUp()
	defer func() {
		if ctx.Err() != nil { // go-redis says that its client is closed, which would be a refusal
			err = errHungUp
		}
	}()
	in.mu.Lock()
	s.beacons = beacons{hangUp: hangUp}
	in.mu.Unlock()
	pubsub := in.client.Subscribe(ctx)                            // to no channel yet, without I/O
	defer func() { _ = pubsub.Close() }()                         // or already closed
	defer context.AfterFunc(ctx, func() { _ = pubsub.Close() })() // interrupts Receive
	if err := pubsub.Subscribe(ctx, in.channel); err != nil {
		return err
	}
	for pinged := false; ; {
		message, err := pubsub.ReceiveTimeout(ctx, silence)
		if in.deaf(s) {
			return errDeaf
		}
		if err != nil {
			var timeout net.Error
			if pinged || !errors.As(err, &timeout) || !timeout.Timeout() {
				return err
			}
			if err := pubsub.Ping(ctx); err != nil {
				return err
			}
			pinged = true
			continue
		}
		pinged = false
		switch m := message.(type) {
		case *redis.Subscription:
			s.confirmed.Store(true)
			in.wakeAll(s)
		case *redis.Message:
			in.deliver(s, m.Payload)
		}
	}
}

// wakeAll makes up for messages that may have been missed: all watched owners ask
// again, and what those that left may have been granted is given back.
func (in *inbox) wakeAll(s *subscription) {
	in.mu.Lock()
	var all []lease.Waker
	var left []message
	if in.current.Load() == s {
		for _, state := range in.owners {
			switch {
			case state.wake != nil:
				all = append(all, state.wake)
			case state.left && state.as != nil:
				left = append(left, *state.as)
			}
		}
	}
	in.mu.Unlock()
	for _, wake := range all {
		wake.Woken(lease.Grant{})
	}
	for _, m := range left {
		in.unwanted(m)
	}
}

// deliver handles one message, as the scripts write it.
func (in *inbox) deliver(s *subscription, payload string) {
	m := readMessage(payload)
	switch {
	case m.beacon > 0:
		in.arrived(s, m.beacon)
		return
	case m.stop.Owner != "":
		in.asked(m)
		return
	}
	in.mu.Lock()
	state, known := in.owners[m.owner]
	stopped := in.current.Load() != s
	in.mu.Unlock()
	switch {
	case m.owner == "" || state.holding:
		// Of another form, or taken by its own request already.
	case state.wake != nil:
		if !stopped && state.wake.Woken(in.grantOf(m, state)) {
			in.granted(m.owner)
		}
	case m.grant && (!known || state.left):
		in.unwanted(m)
	}
}

// grantOf is what an owner may rely on because of m.
//
// Its lease lasts for the reservation from the grant on. By the server's clock that was
// m.granted − state.answered after the server answered the last poll, which was after
// that poll was sent. Clocks drift apart by less than maxDrift. A time after now shows
// that the server's clock jumped, and one before the answer that the grant lapsed or was
// taken.
func (in *inbox) grantOf(m message, state ownerState) lease.Grant {
	if !in.trusting || m.fence == 0 || state.answered == 0 || m.granted <= state.answered {
		return lease.Grant{}
	}
	after := m.granted - state.answered
	since := state.polled.Add(time.Duration(after-after*maxDrift/1e6) * time.Microsecond)
	if since.After(time.Now()) {
		return lease.Grant{}
	}
	return lease.Grant{Fence: m.fence, TokenCount: m.tokens, Since: since}
}
