package stop

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jobguard/jobguard/internal/panics"
)

// ErrLate is what Stop's error matches if a step had not returned when its time was
// over.
var ErrLate = errors.New("not done in time")

var errExited = errors.New("the step called runtime.Goexit")

// Steps are what ends a program. They are safe for concurrent use.
type Steps struct {
	total time.Duration

	mu       sync.Mutex // guards what follows
	steps    []step
	budgeted time.Duration // the sum of the budgets
	stopping bool

	done chan struct{} // closed when Stop is over
	err  error         // of Stop; written before done is closed
}

type step struct {
	name   string
	do     func(context.Context) error
	budget time.Duration // 0: a share of what is left
}

// New returns no steps, which Stop will run within total. It should be less than
// what the program is given between SIGTERM and SIGKILL: 25 s of Kubernetes' 30 s.
// A total that is not positive panics.
func New(total time.Duration) *Steps {
	if total <= 0 {
		panic(fmt.Sprintf("stop: New: %v is no time to stop in", total))
	}
	return &Steps{total: total, done: make(chan struct{})}
}

// Option configures a step.
type Option interface{ apply(*step) }

type option func(*step)

func (f option) apply(s *step) { f(s) }

// Budget is how much time a step gets, beside what the steps before it have left over of
// theirs; default: as much as the others without one.
// Budgets that are not positive, or leave nothing of the total to the steps without
// one, make Add panic.
func Budget(d time.Duration) Option {
	return option(func(s *step) {
		if d <= 0 {
			panic(fmt.Sprintf("stop: Budget %v of %q is not positive", d, s.name))
		}
		s.budget = d
	})
}

// Add appends a step. Its context ends when two thirds of the step's time are over,
// and after do has returned; it is not derived from another. Add panics if do is nil,
// the budgets do not fit into the total, or Stop was called.
func (s *Steps) Add(name string, do func(context.Context) error, opts ...Option) {
	if do == nil {
		panic(fmt.Sprintf("stop: Add of %q: nil function", name))
	}
	next := step{name: name, do: do}
	for _, opt := range opts {
		opt.apply(&next)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping {
		panic(fmt.Sprintf("stop: Add of %q after Stop", name))
	}
	s.steps = append(s.steps, next)
	s.budgeted += next.budget
	if shares := s.sharesLocked(); s.budgeted > s.total || s.budgeted == s.total && shares > 0 {
		panic(fmt.Sprintf("stop: Add of %q: budgets of %v leave nothing of the total of %v", name, s.budgeted, s.total))
	}
}

// sharesLocked counts the steps without a budget.
func (s *Steps) sharesLocked() (n int) {
	for _, st := range s.steps {
		if st.budget == 0 {
			n++
		}
	}
	return n
}

// Stop runs the steps one after the other, and returns their errors joined, each with
// the step's name; [ErrLate] for one that was late. It returns within the total.
// Calling it again waits for the first call and returns the same.
func (s *Steps) Stop() error {
	s.mu.Lock()
	again := s.stopping
	s.stopping = true
	share := (s.total - s.budgeted) / time.Duration(max(1, s.sharesLocked()))
	s.mu.Unlock() // steps do not change any more
	if again {
		<-s.done
		return s.err
	}
	defer close(s.done)
	var errs []error
	end := time.Now()
	for _, st := range s.steps {
		if st.budget == 0 {
			st.budget = share
		}
		end = end.Add(st.budget) // what earlier steps left included
		if err := st.run(end); err != nil {
			errs = append(errs, fmt.Errorf("stop: %s: %w", st.name, err))
		}
	}
	s.err = errors.Join(errs...)
	return s.err
}

// run runs the step until end at most.
func (st step) run(end time.Time) error {
	left := time.Until(end)
	ctx, cancel := context.WithTimeout(context.Background(), left*2/3)
	defer cancel()
	done := make(chan error, 1)
	go func() { // ends with the step; run does not wait for a late one
		err := errExited
		defer func() { done <- err }()
		if p := panics.Catch(func() { err = st.do(ctx) }); p != nil {
			err = fmt.Errorf("%w\n%s", p, p.Stack)
		}
	}()
	late := time.NewTimer(left)
	defer late.Stop()
	select {
	case err := <-done:
		return err
	case <-late.C:
		return fmt.Errorf("%w (%v)", ErrLate, left)
	}
}
