package redisstore

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jobguard/jobguard/guard/lease"
)

const patience = 100 * time.Millisecond

// patient submits n commands of a kind, each in a patient attempt of its own.
func patient(t *testing.T, b *batcher, k kind, n int) (ops []*op, attempts []*lease.Attempt) {
	t.Helper()
	for range n {
		o, a := newOp("k", "ping"), lease.NewPatientAttempt(context.Background(), patience)
		o.kind = k
		b.submit(a, o)
		ops, attempts = append(ops, o), append(attempts, a)
	}
	return ops, attempts
}

// slowly is a sender to a node that answers a flight after d.
func slowly(d time.Duration) sender {
	return func(context.Context, []*op) { time.Sleep(d) }
}

func TestTimeOfAnAttemptCountsFromWhenItIsSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const trip, rounds = patience * 9 / 10, 50
		b := &batcher{send: slowly(trip)}
		start := time.Now()
		ops, attempts := patient(t, b, other, rounds*maxFlushers*maxBatch)
		for i, o := range ops {
			b.wait(attempts[i], o)
			if err := o.outcome(); err != nil {
				t.Fatalf("command %d after %v: %v", i, time.Since(start), err)
			}
		}
		took := time.Since(start)
		if took < rounds*trip || took > (rounds+1)*trip { // the first flights are not full
			t.Errorf("took %v, want %v", took, rounds*trip)
		}
		if last, _ := attempts[len(ops)-1].Deadline(); !last.Equal(start.Add(took - trip + patience)) {
			t.Errorf("the deadline of the last is %v after the start", last.Sub(start))
		}
	})
}

func TestUnsentCommandsAreGivenUpWhenTheNodeIsSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		silent := time.Now().Add(time.Second)
		b := &batcher{send: func(ctx context.Context, ops []*op) {
			if time.Sleep(patience / 2); time.Now().Before(silent) {
				return
			}
			<-ctx.Done()
			for _, o := range ops {
				o.SetErr(ctx.Err())
			}
		}}
		ops, attempts := patient(t, b, other, 100*maxFlushers*maxBatch)
		for i, o := range ops {
			b.wait(attempts[i], o)
		}
		if took := time.Since(silent); took != patience-patience/2 { // the last answer came that long before
			t.Errorf("the last was given up %v after the node fell silent, want %v", took, patience/2)
		}
		if err := ops[len(ops)-1].outcome(); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "not sent") {
			t.Errorf("the last: %v", err)
		}
	})
}

func TestFixedDeadlineStandsForACommandThatIsNotSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &batcher{send: slowly(patience / 2)}
		before, attempts := patient(t, b, other, 100*maxFlushers*maxBatch)
		o, start := newOp("k", "ping"), time.Now()
		b.submit(lease.NewAttempt(start.Add(3*patience)), o)
		b.wait(lease.NewAttempt(start.Add(3*patience)), o)
		if took := time.Since(start); took != 3*patience || o.outcome() == nil {
			t.Errorf("%v after %v", o.outcome(), took)
		}
		for i, o := range before {
			b.wait(attempts[i], o)
		}
	})
}

func TestCancelledAttemptIsNotWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &batcher{send: slowly(patience / 2)}
		before, attempts := patient(t, b, other, 100*maxFlushers*maxBatch)
		ctx, cancel := context.WithCancel(t.Context())
		o, a, start := newOp("k", "ping"), lease.NewPatientAttempt(ctx, patience), time.Now()
		b.submit(a, o)
		time.AfterFunc(time.Second, cancel)
		b.wait(a, o)
		if took := time.Since(start); took != time.Second || !errors.Is(o.outcome(), context.Canceled) {
			t.Errorf("%v after %v", o.outcome(), took)
		}
		for i, o := range before {
			b.wait(attempts[i], o)
		}
	})
}

// However many commands of one kind wait, the others are in the next flight.
func TestEachKindHasItsShareOfAFlight(t *testing.T) {
	for crowd := range kinds {
		synctest.Test(t, func(t *testing.T) {
			b := &batcher{send: slowly(patience / 2)}
			before, attempts := patient(t, b, crowd, 20*maxFlushers*maxBatch)
			synctest.Wait() // the first flights are on their way
			for k := range kinds {
				if k == crowd {
					continue
				}
				start := time.Now()
				ops, as := patient(t, b, k, 8)
				for i, o := range ops {
					b.wait(as[i], o)
				}
				if took := time.Since(start); took > patience {
					t.Errorf("kind %d waited %v behind many of kind %d", k, took, crowd)
				}
			}
			for i, o := range before {
				b.wait(attempts[i], o)
			}
		})
	}
}
