package main

import (
	"context"
	"fmt"
)

// stall is the accident of the guarded sale: a replica is stopped right before
// it writes, for longer than its lease lasts.
type stall struct {
	phase   phase
	who     *member
	token   int64 // under which it is going to write
	noticed bool  // its first look at the context said that the lease is lost
	taken   int64 // the token of who went on meanwhile; 0 if none did
	refused bool  // its late write
}

type phase int

const (
	before phase = iota
	stopped
	over
)

// stop stops the replica m, which is about to write, and opens the doors of all
// others: they wait for the key that it holds.
func (d *direction) stop(m *member, token int64) error {
	st := &d.outcome.stall
	st.who, st.token = m, token
	if d.sabotage != withoutStall {
		if err := halt(m.cmd.Process, d.line); err != nil {
			return fmt.Errorf("stop %s: %w", m.name, err)
		}
	}
	st.phase = stopped
	d.say("%s is about to write, with token %d", m.name, token)
	d.say("%s is stopped there (%s); the others wait", m.name, stallWay)
	return d.begin()
}

// watchStall ends the stall when another replica has gone on, as the database
// can tell, or when no process is left that could.
func (d *direction) watchStall(ctx context.Context) error {
	st := &d.outcome.stall
	if st.phase != stopped {
		return nil
	}
	newest, err := d.shop.newest(ctx)
	if err != nil {
		return fmt.Errorf("look for later sales: %w", err)
	}
	switch {
	case newest > st.token:
		st.taken = newest
		d.say("its lease ran out; another replica went on, with token %d", newest)
	case d.crew.alive > 1 && d.sabotage != withoutStall:
		return nil
	}
	st.phase = over
	d.say("%s is let go on", st.who.name)
	if err := st.who.order(goOn); err != nil { // it finds the order when it can look
		return err
	}
	if d.sabotage == withoutStall {
		return nil
	}
	if err := resume(st.who.cmd.Process, d.line); err != nil {
		return fmt.Errorf("let %s go on: %w", st.who.name, err)
	}
	return nil
}

// resumed takes the replica's report of its first look at the context.
func (d *direction) resumed(lost bool) {
	d.outcome.stall.noticed = lost
	if lost {
		d.say("its context says that the lease is lost; it writes regardless")
	} else {
		d.say("its context says that all is well")
	}
}

// refused takes the report that the database refused a write of m.
func (d *direction) refused(m *member) {
	st := &d.outcome.stall
	if st.phase == over && m == st.who && !st.refused {
		st.refused = true
		d.say("its late write is refused: the row has seen a higher token")
	}
}
