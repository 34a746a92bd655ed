package main

import (
	"errors"
	"fmt"
	"strings"
)

var errNoReplica = errors.New("there is no such replica")

// act does what a button says.
func (h *house) act(a action) error {
	if on, ok := strings.CutPrefix(a.name, "guard "); ok {
		return h.setGuard(on)
	}
	if a.replica < 0 || a.replica >= len(h.clerks) {
		return fmt.Errorf("%w: %d", errNoReplica, a.replica+1)
	}
	c := h.clerks[a.replica]
	switch a.name {
	case "stall":
		if c.state != selling {
			return fmt.Errorf("%s is %s", c.part.Name, c.state)
		}
		c.state = stalling
		return c.member.order(stallOrder)
	case "kill":
		if c.again {
			c.again = false
			return nil
		}
		if c.state == dead || c.state == failed || c.state == ending {
			return fmt.Errorf("%s is %s", c.part.Name, c.state)
		}
		if err := c.member.cmd.Process.Kill(); err != nil {
			return err // it has died by itself
		}
		if c.state == stalled && !c.cut {
			c.line.mend() // where processes cannot be stopped, their line was cut
		}
		c.state, c.killed = ending, true
		h.sends(a.replica)
		return nil
	case "cut":
		c.cut = true
		c.line.cut()
		h.sends(a.replica)
		h.say("%s is cut off from Redis", c.part.Name)
		return nil
	case "go-on":
		return h.goOn(a.replica)
	}
	return fmt.Errorf("unknown action %q", a.name)
}

// goOn undoes whatever was done to a replica.
func (h *house) goOn(i int) error {
	c := h.clerks[i]
	mended := c.cut
	if c.cut {
		c.cut = false
		c.line.mend()
		h.sends(i)
		h.say("%s reaches Redis again", c.part.Name)
	}
	switch c.state {
	case stalling:
		if mended {
			return nil
		}
		return fmt.Errorf("%s stalls at its next write: let it go on then", c.part.Name)
	case ending:
		c.again = true
	case dead, failed:
		return h.start(c)
	case stalled:
		if err := c.member.order(goOn); err != nil { // it finds the order when it can look
			return err
		}
		c.state = selling
		h.sends(i)
		return resume(c.member.cmd.Process, c.line)
	}
	return nil
}
