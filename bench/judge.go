package main

import (
	"errors"
	"fmt"
	"sync/atomic"
)

// errBroken is in every error about a lock that did not do what locks are for.
var errBroken = errors.New("broken")

// judge checks every entry into the critical section of one key.
type judge struct {
	inside  atomic.Int64
	last    atomic.Int64 // the fencing token of the latest to enter
	verdict atomic.Pointer[error]
}

// enter is called first thing in the section, leave last.
func (j *judge) enter(token int64, fenced bool) {
	if n := j.inside.Add(1); n != 1 {
		j.condemn(fmt.Errorf("%w: %d holders at once", errBroken, n))
	}
	if !fenced {
		return
	}
	if before := j.last.Swap(token); token <= before {
		j.condemn(fmt.Errorf("%w: fencing token %d came after %d", errBroken, token, before))
	}
}

func (j *judge) leave() { j.inside.Add(-1) }

// condemn keeps the first reason.
func (j *judge) condemn(err error) { j.verdict.CompareAndSwap(nil, &err) }

// err is nil unless the lock was seen broken.
func (j *judge) err() error {
	if p := j.verdict.Load(); p != nil {
		return *p
	}
	return nil
}
