package redisstore

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/jobguard/jobguard/guard/lease"
)

const (
	// linger is how long the subscription outlives the last watched owner, so
	// that contention does not turn into subscribing again and again.
	linger = 250 * time.Millisecond
	// silence after which the connection is asked for a sign of life; after as
	// much again without one it counts as dead.
	silence = time.Second
	// Pause before the subscription is tried again: doubling, half of it at
	// random. A missing permission will not appear soon.
	firstPause, lastPause = 50 * time.Millisecond, time.Second
	forbiddenPause        = 30 * time.Second
)

// inbox receives wake-ups for the owners of one process. Whoever waits polls as
// well: a message that is lost costs time and nothing else.
//
// Its goroutine is started by the first watched owner that has to stand in line
// (keys that nobody contends for need no subscription), and stopped by a timer,
// linger after the last watch ended. There is one at a time, but for one that is
// closing.
type inbox struct {
	client   redis.UniversalClient
	channel  string
	vouches  bool                        // a message alone is enough to begin with
	unwanted func(owner string, e entry) // a grant that nobody wants; called on the inbox's goroutine

	current atomic.Pointer[subscription] // nil while nobody had to wait; changed under mu

	mu      sync.Mutex // never held while wake or unwanted runs
	owners  map[string]ownerState
	watched int // owners with a watch
	stop    *time.Timer
}

// ownerState is what is known of an owner that is watched, or that left the
// line without the server having said so.
type ownerState struct {
	wake  func(lease.Grant) bool // nil: not watched
	entry entry                  // what it stands in line for
	// settled: it has its grant, or was released. A wake-up that still comes,
	// having been overtaken by a poll, is then not a grant that nobody wants.
	finished bool

	// The last poll that was answered with "wait". A grant is made after it if the
	// server says so: then the lease has its whole reservation from polled on.
	polled   time.Time // when it was sent
	answered int64     // when it ran, by the server's clock in µs; 0: never
}

// maxLeft bounds the owners remembered because their leaving went unanswered.
// A grant to any more of them costs its reservation.
const maxLeft = 1024

// place is whatever else a release needs to know of a waiter.
type entry struct {
	key         string // the user's
	limit       lease.Limit
	reservation time.Duration
}

// subscription is one run of the inbox's goroutine.
type subscription struct {
	confirmed atomic.Bool // the server has it
	cancel    context.CancelFunc
}

func newInbox(client redis.UniversalClient, channel string, vouches bool, unwanted func(owner string, e entry)) *inbox {
	return &inbox{
		client:   client,
		channel:  channel,
		vouches:  vouches,
		unwanted: unwanted,
		owners:   make(map[string]ownerState),
	}
}

// listening tells whether a message sent now would be received.
func (in *inbox) listening() bool {
	s := in.current.Load()
	return s != nil && s.confirmed.Load()
}

// Watch implements [lease.Watcher]. Wake-ups come on the goroutine that listens,
// one for the whole Store. It begins when a watched owner first has to stand in
// line, and ends a quarter of a second after the last Unwatch.
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
	never := state.entry.key == "" // it never stood in line
	if never || state.finished || !subscribed || len(in.owners)-in.watched > maxLeft {
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

// end stops the goroutine, unless somebody is watched again.
func (in *inbox) end() {
	in.mu.Lock()
	defer in.mu.Unlock()
	if s := in.current.Load(); s != nil && in.watched == 0 {
		in.current.Store(nil)
		clear(in.owners) // no message can come any more
		s.cancel()
	}
}

// settled notes that a grant to owner that is announced from now on is old
// news: it took its grant, or was released.
func (in *inbox) finished(owner string) {
	if in.current.Load() == nil {
		return // a later subscription only hears of later grants
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

// waits notes that owner stands in line, and subscribes if nobody did before.
// What is missed until then is made up for: once the server has confirmed the
// subscription, everybody is woken to ask again.
func (in *inbox) waits(owner string, e entry, polled time.Time, answered int64) {
	in.mu.Lock()
	defer in.mu.Unlock()
	state := in.owners[owner]
	if state.wake == nil {
		return
	}
	state.finished, state.entry = false, e
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
	pause := firstPause
	for ctx.Err() == nil {
		err := in.listen(ctx, s)
		if s.confirmed.Swap(false) {
			pause = firstPause
		}
		wait := pause/2 + rand.N(pause/2)
		if refused(err) {
			wait = forbiddenPause
		}
		pause = min(2*pause, lastPause)
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

// listen subscribes and hands on what comes, until ctx ends or the connection breaks.
func (in *inbox) listen(ctx context.Context, s *subscription) error {
	pubsub := in.client.Subscribe(ctx)                            // to nothing yet, without I/O
	defer func() { _ = pubsub.Close() }()                         // or already closed
	defer context.AfterFunc(ctx, func() { _ = pubsub.Close() })() // interrupts Receive
	if err := pubsub.Subscribe(ctx, in.channel); err != nil {
		return err
	}
	for asked := false; ; {
		message, err := pubsub.ReceiveTimeout(ctx, silence)
		if err != nil {
			var timeout net.Error
			if asked || !errors.As(err, &timeout) || !timeout.Timeout() {
				return err
			}
			if err := pubsub.Ping(ctx); err != nil {
				return err
			}
			asked = true
			continue
		}
		asked = false
		switch m := message.(type) {
		case *redis.Subscription:
			s.confirmed.Store(true)
			in.wakeAll(s)
		case *redis.Message:
			in.deliver(s, m.Payload)
		}
	}
}

// wakeAll makes up for messages that may have been missed: everybody who is
// watched asks again, and what was granted to those who left is given back.
func (in *inbox) wakeAll(s *subscription) {
	in.mu.Lock()
	var all []func(lease.Grant) bool
	left := make(map[string]entry)
	if in.current.Load() == s {
		for owner, state := range in.owners {
			switch {
			case state.wake != nil:
				all = append(all, state.wake)
			case !state.finished && state.entry.key != "":
				left[owner] = state.entry
			}
		}
	}
	in.mu.Unlock()
	for _, wake := range all {
		wake(lease.Grant{})
	}
	for owner, p := range left {
		in.unwanted(owner, p)
	}
}

// deliver takes one message, as queue.lua writes it.
func (in *inbox) deliver(s *subscription, payload string) {
	m := readMessage(payload)
	in.mu.Lock()
	state, known := in.owners[m.owner]
	if !known || in.current.Load() != s {
		in.mu.Unlock()
		return // polled, or took its grant already
	}
	in.mu.Unlock()
	var grant lease.Grant
	// An older grant has lapsed, or was taken: its message is late.
	if in.vouches && state.answered > 0 && m.granted > state.answered {
		grant = lease.Grant{Fence: m.fence, Since: state.polled}
	}
	switch {
	case state.wake == nil && state.entry.key != "":
		in.unwanted(m.owner, state.entry)
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

// readMessage takes apart "<owner>\n<granted>\n<fence>\n<lease>". Of a text that is
// made in another way only the owner counts: a reason to ask.
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
