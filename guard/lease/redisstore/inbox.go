package redisstore

import (
	"context"
	"errors"
	"net"
	"strconv"
	"strings"
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
// Its goroutine is started by the first watched owner that has to wait and stopped by
// a timer, linger after the last watch ended. See docs/design/redisstore-queue.md.
type inbox struct {
	client   redis.UniversalClient
	channel  string
	trusting bool                            // a wake-up is enough to start on a grant
	unwanted func(owner string, c candidate) // releases a grant without a watch; called on the inbox's goroutine

	current atomic.Pointer[subscription] // nil until an owner has to wait; changed under mu

	mu      sync.Mutex // never held while wake or unwanted runs
	owners  map[string]ownerState
	watched int // owners with a watch
	stop    *time.Timer
}

// ownerState is kept of an owner that is watched, or that stopped waiting without
// an answer from the server.
type ownerState struct {
	wake      func(lease.Grant) bool // nil: not watched
	candidate candidate
	// finished: it took its grant, or was released. A wake-up that arrives later does
	// not mean a grant without a watch.
	finished bool

	// The last poll that was answered with "wait". A later grant, by the server's
	// clock, lasts for the whole reservation from polled on.
	polled   time.Time // when it was sent
	answered int64     // when it ran, by the server's clock in µs; 0: never
}

// maxLeft bounds the owners kept because their release was not answered. A grant to
// any further one lasts for its reservation.
const maxLeft = 1024

// candidate is what a release needs to know of a waiter besides its owner id.
type candidate struct {
	key         string // the user's
	limit       lease.Limit
	reservation time.Duration
}

// subscription is one run of the inbox's goroutine.
type subscription struct {
	confirmed atomic.Bool // by the server
	cancel    context.CancelFunc
}

func newInbox(client redis.UniversalClient, channel string, trusting bool, unwanted func(owner string, c candidate)) *inbox {
	return &inbox{
		client:   client,
		channel:  channel,
		trusting: trusting,
		unwanted: unwanted,
		owners:   make(map[string]ownerState),
	}
}

// listening reports whether a message published now would be received.
func (in *inbox) listening() bool {
	s := in.current.Load()
	return s != nil && s.confirmed.Load()
}

// Watch implements [lease.Watcher]. wake is called on the goroutine that receives
// messages, one for the whole Store. It starts when a watched owner first has to
// wait, and ends a quarter of a second after the last Unwatch.
func (s *Store) Watch(owner string, wake func(lease.Grant) bool) { s.inbox.watch(owner, wake) }

// Unwatch implements [lease.Watcher].
func (s *Store) Unwatch(owner string) { s.inbox.unwatch(owner) }

func (in *inbox) watch(owner string, wake func(lease.Grant) bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	state := in.owners[owner]
	if state.wake == nil {
		in.watched++
	}
	state.wake, state.finished = wake, false
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
	subscribed := in.current.Load() != nil
	waited := state.candidate.key != ""
	if !waited || state.finished || !subscribed || len(in.owners)-in.watched > maxLeft {
		delete(in.owners, owner)
	} else {
		state.wake = nil
		in.owners[owner] = state
	}
	if in.watched == 0 && subscribed {
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
	if s := in.current.Load(); s != nil && in.watched == 0 {
		in.current.Store(nil)
		clear(in.owners) // no message can arrive any more
		s.cancel()
	}
}

// finished records that owner took its grant or was released: a wake-up that arrives
// from now on is outdated.
func (in *inbox) finished(owner string) {
	if in.current.Load() == nil {
		return // a later subscription receives later grants only
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	state, known := in.owners[owner]
	switch {
	case known && state.wake == nil:
		delete(in.owners, owner)
	case known:
		state.finished = true
		in.owners[owner] = state
	}
}

// waiting records that owner waits in the queue, and subscribes if there is no
// subscription. When the server confirms it, all watched owners are woken, which
// makes up for messages missed until then.
func (in *inbox) waiting(owner string, c candidate, polled time.Time, answered int64) {
	in.mu.Lock()
	defer in.mu.Unlock()
	state := in.owners[owner]
	if state.wake == nil {
		return
	}
	state.finished, state.candidate = false, c
	state.polled, state.answered = polled, answered
	in.owners[owner] = state
	if in.current.Load() == nil {
		ctx, cancel := context.WithCancel(context.Background())
		s := &subscription{cancel: cancel}
		in.current.Store(s)
		go in.run(ctx, s)
	}
}

// run keeps the subscription until ctx ends.
func (in *inbox) run(ctx context.Context, s *subscription) {
	for failures := 1; ctx.Err() == nil; failures++ {
		err := in.listen(ctx, s)
		if s.confirmed.Swap(false) {
			failures = 1
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

// listen subscribes and delivers messages until ctx ends or the connection breaks.
func (in *inbox) listen(ctx context.Context, s *subscription) error {
	pubsub := in.client.Subscribe(ctx)                            // to no channel yet, without I/O
	defer func() { _ = pubsub.Close() }()                         // or already closed
	defer context.AfterFunc(ctx, func() { _ = pubsub.Close() })() // interrupts Receive
	if err := pubsub.Subscribe(ctx, in.channel); err != nil {
		return err
	}
	for pinged := false; ; {
		message, err := pubsub.ReceiveTimeout(ctx, silence)
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
// again, and grants to owners that left are released.
func (in *inbox) wakeAll(s *subscription) {
	in.mu.Lock()
	var all []func(lease.Grant) bool
	left := make(map[string]candidate)
	if in.current.Load() == s {
		for owner, state := range in.owners {
			switch {
			case state.wake != nil:
				all = append(all, state.wake)
			case !state.finished && state.candidate.key != "":
				left[owner] = state.candidate
			}
		}
	}
	in.mu.Unlock()
	for _, wake := range all {
		wake(lease.Grant{})
	}
	for owner, c := range left {
		in.unwanted(owner, c)
	}
}

// deliver handles one message, as queue.lua writes it.
func (in *inbox) deliver(s *subscription, payload string) {
	m := readMessage(payload)
	in.mu.Lock()
	state, known := in.owners[m.owner]
	if !known || in.current.Load() != s {
		in.mu.Unlock()
		return // it polled or took its grant already
	}
	in.mu.Unlock()
	var grant lease.Grant
	// A message older than the last answer is of a grant that was taken or expired.
	if in.trusting && state.answered > 0 && m.granted > state.answered {
		grant = lease.Grant{Fence: m.fence, Since: state.polled}
	}
	switch {
	case state.wake == nil && state.candidate.key != "":
		in.unwanted(m.owner, state.candidate)
	case state.wake != nil && state.wake(grant):
		in.finished(m.owner)
	}
}

// message says that owner was granted a lease.
type message struct {
	owner   string
	granted int64 // when, by the server's clock in µs
	fence   int64 // the token minted for it; 0 for one that is not exclusive
}

// readMessage parses "<owner>\n<granted>\n<fence>\n<lease>". Of a message in another
// form only the owner is used: a reason to ask.
func readMessage(payload string) message {
	parts := strings.SplitN(payload, "\n", 4)
	if len(parts) == 4 {
		granted, err1 := strconv.ParseInt(parts[1], 10, 64)
		fence, err2 := strconv.ParseInt(parts[2], 10, 64)
		if err1 == nil && err2 == nil {
			return message{owner: parts[0], granted: granted, fence: fence}
		}
	}
	return message{owner: parts[0]}
}
