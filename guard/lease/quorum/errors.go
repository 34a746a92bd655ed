package quorum

import (
	"errors"
	"fmt"
	"strings"

	"github.com/jobguard/jobguard/guard/lease"
)

// failure is the error of a call that too few nodes answered.
type failure struct {
	op      string
	nodes   int
	need    int
	causes  []error // by node; nil for those that answered
	refused bool    // so many refused that a retry changes nothing
}

// failed returns the error of a round.
func failed[T any](s *Store, op string, answers []answer[T]) error {
	f := &failure{op: op, nodes: len(s.nodes), need: s.majority, causes: make([]error, len(answers))}
	refused := 0
	for i := range answers {
		a := &answers[i]
		switch {
		case a.done:
			f.causes[i] = a.err
		default:
			f.causes[i] = errNoAnswer
		}
		if errors.Is(a.err, lease.ErrRefused) {
			refused++
		}
	}
	f.refused = refused > len(s.nodes)-s.majority
	return f
}

var errNoAnswer = errors.New("no answer in time")

func (f *failure) Error() string {
	var b strings.Builder
	answered := 0
	for i, err := range f.causes {
		if err == nil {
			answered++
			continue
		}
		if b.Len() > 0 {
			b.WriteString("; ")
		}
		fmt.Fprintf(&b, "node %d: %v", i+1, err)
	}
	return fmt.Sprintf("quorum: %s: %d of %d nodes answered, %d are needed: %s", f.op, answered, f.nodes, f.need, b.String())
}

// Is matches a node's error. [lease.ErrRefused] of a few nodes is not the answer of all.
func (f *failure) Is(target error) bool {
	if target == lease.ErrRefused {
		return f.refused
	}
	for _, err := range f.causes {
		if errors.Is(err, target) {
			return true
		}
	}
	return false
}

// As finds a node's error.
func (f *failure) As(target any) bool {
	for _, err := range f.causes {
		if err != nil && errors.As(err, target) {
			return true
		}
	}
	return false
}
