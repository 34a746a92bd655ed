package quorum

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/jobguard/jobguard/guard/lease"
)

const (
	// An attempt at a node takes at most this part of the TTL, and at most maxAttempt.
	attemptPart = 4
	maxAttempt  = 2 * time.Second

	// When the answers of a majority are enough, the other nodes get half as long again,
	// and at least minGrace: so those that work hold all leases, and a slow one costs
	// little.
	minGrace = 50 * time.Microsecond
)

var errAway = errors.New("it did not answer before, and is not waited for")

// round is one question to several nodes at once. Each is asked on a goroutine of its
// own, which ends with the node's call, by the deadline of its attempt at the latest.
type round[T any] struct {
	s       *Store
	began   time.Time
	call    func(i int) (T, error)         // asks node i
	decided func(answers []answer[T]) bool // the nodes that have not answered could change nothing
	late    func(i int, v T, err error)    // takes answers for which nobody waited any more; nil: they are dropped
	over    chan struct{}                  // one message: there is nothing to wait for
	until   time.Time                      // the wait ends then; zero: when the nodes have answered

	mu      sync.Mutex
	left    bool // nobody waits any more: answers are late
	answers []answer[T]
	open    int         // nodes that have not answered
	spare   int         // the same of those that get no grace
	told    bool        // over was sent
	grace   *time.Timer // tells, for nodes that take too long; set when decided
}

// answer is a node's part of a round.
type answer[T any] struct {
	asked bool // else the answer was given without asking
	done  bool
	spare bool // it is not waited for if the answers of others are enough
	probe bool // of a node that was away
	value T
	err   error
}

// ok reports whether the node has answered.
func (a *answer[T]) ok() bool { return a.done && a.err == nil }

// newRound prepares a round. late runs on the goroutine that asked.
func newRound[T any](s *Store, call func(i int) (T, error), decided func([]answer[T]) bool, late func(i int, v T, err error)) *round[T] {
	return &round[T]{
		s: s, began: time.Now(), call: call, decided: decided, late: late,
		answers: make([]answer[T], len(s.nodes)),
		over:    make(chan struct{}, 1),
	}
}

// answered gives node i's answer without asking it.
func (rd *round[T]) answered(i int, v T, err error) {
	rd.answers[i] = answer[T]{done: true, value: v, err: err}
}

// expect announces that node i will be asked.
func (rd *round[T]) expect(i int, spare bool) {
	rd.answers[i] = answer[T]{asked: true, spare: spare}
	if spare {
		rd.spare++
	} else {
		rd.open++
	}
}

// probe is expect for a node that is away, as [Store.present] said.
func (rd *round[T]) probe(i int) {
	rd.expect(i, true)
	rd.answers[i].probe = true
}

// start asks the nodes that are expected.
func (rd *round[T]) start() {
	for i := range rd.answers {
		if rd.answers[i].asked {
			go rd.ask(i)
		}
	}
}

func (rd *round[T]) ask(i int) {
	growStack()
	v, err := rd.call(i)
	rd.s.nodes[i].heard(err)
	rd.put(i, v, err)
}

// growStack makes room for a node's call in one step, at the beginning of a goroutine. Else
// its first 2 KB are grown two times, in the depth of the call, which costs a fifth of the
// client's time.
//
//go:noinline
func growStack() {
	var room [5 << 10]byte
	occupy(&room)
}

//go:noinline
func occupy(*[5 << 10]byte) {}

func (rd *round[T]) put(i int, v T, err error) {
	rd.mu.Lock()
	a := &rd.answers[i]
	if a.probe {
		rd.s.nodes[i].probing.Store(false)
	}
	if rd.left {
		rd.mu.Unlock()
		if rd.late != nil {
			rd.late(i, v, err)
		}
		return
	}
	a.done, a.value, a.err = true, v, err
	if a.spare {
		rd.spare--
	} else {
		rd.open--
	}
	rd.judgeLocked()
	rd.mu.Unlock()
}

// judgeLocked tells the caller when there is nothing to wait for: all have answered, or
// the answers are enough and only spare ones are missing, or the others have had their
// grace.
func (rd *round[T]) judgeLocked() {
	enough := rd.decided(rd.answers)
	switch {
	case rd.open+rd.spare == 0 || enough && rd.open == 0:
		rd.tellLocked()
	case enough && rd.grace == nil:
		rd.grace = time.AfterFunc(max(time.Since(rd.began)/2, minGrace), func() { // stopped by wait
			rd.mu.Lock()
			rd.tellLocked()
			rd.mu.Unlock()
		})
	}
}

func (rd *round[T]) tellLocked() {
	if !rd.told {
		rd.told = true
		rd.over <- struct{}{}
	}
}

// wait returns when there is nothing to wait for, ctx is cancelled, or until has come. Then
// answers do not change any more.
func (rd *round[T]) wait(ctx context.Context) {
	rd.mu.Lock()
	rd.judgeLocked() // all may have been answered without asking, or only spare ones are asked
	rd.mu.Unlock()
	var late <-chan time.Time
	if !rd.until.IsZero() {
		t := time.NewTimer(time.Until(rd.until))
		defer t.Stop()
		late = t.C
	}
	select {
	case <-rd.over:
	case <-endOf(ctx):
	case <-late:
	}
	rd.mu.Lock()
	rd.left = true
	if rd.grace != nil {
		rd.grace.Stop()
	}
	rd.mu.Unlock()
}

// count returns how many answers are so.
func count[T any](answers []answer[T], so func(a *answer[T]) bool) (n int) {
	for i := range answers {
		if so(&answers[i]) {
			n++
		}
	}
	return n
}

// endOf is closed when a call with ctx must return. The nodes' attempts end by ctx's
// deadline, so for an attempt that no caller can cancel it is nil.
func endOf(ctx context.Context) <-chan struct{} {
	if a, ok := ctx.(*lease.Attempt); ok {
		return a.Cancelled()
	}
	return ctx.Done()
}

// lateAnswer is how long a call waits after its deadline for the errors of attempts that
// end by the same deadline.
const lateAnswer = 10 * time.Millisecond

// attempt returns the context for one node's call on behalf of one with ctx. It does not
// end with ctx, so that the outcome is known, but by its deadline.
func attempt(ctx context.Context, ttl time.Duration) *lease.Attempt {
	limit := attemptLimit(ttl)
	if patience := patienceOf(ctx); patience > 0 {
		return lease.NewPatientAttempt(context.Background(), min(patience, limit))
	}
	deadline := time.Now().Add(limit)
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	return lease.NewAttempt(deadline)
}

// patienceOf is the timeout of a patient attempt; 0 for any other ctx.
func patienceOf(ctx context.Context) time.Duration {
	if a, ok := ctx.(*lease.Attempt); ok {
		return a.Timeout()
	}
	return 0
}

// brief reports whether ctx is that of a caller's own first attempt, which is short.
func brief(ctx context.Context) bool {
	a, ok := ctx.(*lease.Attempt)
	return ok && a.Timeout() == 0
}

// attemptLimit is how long a node may take to answer.
func attemptLimit(ttl time.Duration) time.Duration {
	if ttl <= 0 {
		return maxAttempt
	}
	return min(ttl/attemptPart, maxAttempt)
}

// present says which nodes to ask: those that are not away, and of those that are one
// that no other call probes. If they are no majority, all are asked.
func (s *Store) present() (ask func(i int) (_, probe bool)) {
	there := 0
	for _, n := range s.nodes {
		if !n.away.Load() {
			there++
		}
	}
	return func(i int) (_, probe bool) {
		n := s.nodes[i]
		if there < s.majority || !n.away.Load() {
			return true, false
		}
		probe = n.probing.CompareAndSwap(false, true)
		return probe, probe
	}
}
