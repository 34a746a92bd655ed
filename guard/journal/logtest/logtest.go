// Package logtest holds every [record.Log] to its contract. A log's own test calls Run
// for each server that it supports:
//
//	func TestConformance(t *testing.T) {
//		logtest.Run(t, func(t *testing.T) logtest.Fixture {
//			return logtest.Fixture{A: mylog.New(server), B: mylog.New(server)}
//		})
//	}
//
// The name of a subtest is the sentence of the contract that it proves. Subtests run in
// real time, and wait for what must happen for up to ten seconds.
package logtest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/jobguard/jobguard/guard/journal/record"
)

// Fixture is a log under test, empty. A and B are the logs of two processes over the
// same data; they may be one value.
type Fixture struct {
	A, B record.Log
}

// Run checks the contract, one subtest after the other. open is called for each of
// them, gives an empty log, and cleans up with t.Cleanup.
func Run(t *testing.T, open func(t *testing.T) Fixture) {
	t.Helper()
	for _, group := range [][]check{beginChecks, endChecks, takeChecks, claimChecks, deadChecks, contextChecks} {
		for _, c := range group {
			t.Run(c.sentence, func(t *testing.T) {
				c.run(&contract{T: t, Fixture: open(t), ctx: t.Context(), fence: 1_000_000})
			})
		}
	}
}

// check proves one sentence.
type check struct {
	sentence string
	run      func(c *contract)
}

const (
	patience = 10 * time.Second
	long     = time.Hour
	soon     = 300 * time.Millisecond
)

// contract is what checks use.
type contract struct {
	*testing.T
	Fixture
	ctx   context.Context
	fence int64
	n     int
}

// intent makes one with an id, and a token above all earlier ones.
func (c *contract) intent(key string) record.Intent {
	c.n++
	c.fence++
	return record.Intent{
		Record: record.Record{ID: fmt.Sprintf("id-%d", c.n), Kind: "charge", Key: key, Payload: []byte("payload\x00\xff of " + key), Fence: c.fence},
		Due:    long, MaxOpen: 1000,
	}
}

// began stores an intent, due now.
func (c *contract) began(key string) record.Intent {
	c.Helper()
	in := c.intent(key)
	in.Due = 0
	c.begin(c.A, in)
	return in
}

func (c *contract) begin(log record.Log, in record.Intent) {
	c.Helper()
	open, err := log.Begin(c.ctx, in)
	c.must(err)
	if len(open) > 0 {
		c.Fatalf("Begin() found %+v open", open)
	}
}

func (c *contract) end(log record.Log, in record.Intent, outcome record.Outcome, change ...func(*record.End)) {
	c.Helper()
	c.must(c.tryEnd(log, in, outcome, change...))
}

// endLate is end of a record that was claimed.
func (c *contract) endLate(log record.Log, in record.Intent, outcome record.Outcome, change ...func(*record.End)) {
	c.Helper()
	err := c.tryEnd(log, in, outcome, change...)
	if outcome != record.EndDone {
		c.must(err)
	} else if !errors.Is(err, record.ErrClaimed) {
		c.Errorf("End() = %v of a run that is done, after its record was claimed", err)
	}
}

func (c *contract) tryEnd(log record.Log, in record.Intent, outcome record.Outcome, change ...func(*record.End)) error {
	e := record.End{Record: in.Record, Outcome: outcome, Retain: long}
	for _, f := range change {
		f(&e)
	}
	return log.End(c.ctx, e)
}

// claim makes a claim with a token above all earlier ones.
func (c *contract) claim(log record.Log, in record.Intent, change ...func(*record.Claim)) (record.Claim, record.Claimed) {
	c.Helper()
	c.n++
	c.fence++
	cl := record.Claim{Ref: in.Ref(), By: fmt.Sprintf("by-%d", c.n), Fence: c.fence, Settled: true, Lap: long}
	for _, f := range change {
		f(&cl)
	}
	claimed, err := log.Claim(c.ctx, cl)
	c.must(err)
	return cl, claimed
}

// granted is claim that must be granted.
func (c *contract) granted(log record.Log, in record.Intent) (record.Claim, record.Record) {
	c.Helper()
	cl, claimed := c.claim(log, in)
	if claimed.State != record.Granted {
		c.Fatalf("Claim() = state %d, want it granted", claimed.State)
	}
	return cl, claimed.Record
}

func (c *contract) wantFinished(in record.Intent) {
	c.Helper()
	if _, claimed := c.claim(c.B, in); claimed.State != record.Finished {
		c.Errorf("Claim() = state %d, want it finished", claimed.State)
	}
}

func (c *contract) resolve(log record.Log, cl record.Claim, result record.Result, want record.Resolved) {
	c.Helper()
	got, err := log.Resolve(c.ctx, record.Verdict{Ref: cl.Ref, By: cl.By, Result: result, After: 0, Err: "handler", Retain: long})
	c.must(err)
	if got != want {
		c.Errorf("Resolve(%s) = %d, want %d", result, got, want)
	}
}

// take takes all that is due of the kind charge.
func (c *contract) take(log record.Log) []record.Due {
	c.Helper()
	due, err := log.Take(c.ctx, record.Take{Kinds: []string{"charge"}, Max: 100, Lap: long})
	c.must(err)
	return due
}

func (c *contract) wantStats(open, dead int) {
	c.Helper()
	s, err := c.B.Stats(c.ctx)
	c.must(err)
	if s.Open != open || s.Dead != dead || (s.Oldest > 0) != (open > 0) {
		c.Errorf("Stats() = %+v, want %d open, %d dead", s, open, dead)
	}
}

func (c *contract) wantErr(err, want error) {
	c.Helper()
	if !errors.Is(err, want) {
		c.Errorf("the error is %v, want %v", err, want)
	}
}

func (c *contract) must(err error) {
	c.Helper()
	if err != nil {
		c.Fatal(err)
	}
}

// within waits for ok.
func (c *contract) within(what string, ok func() bool) {
	c.Helper()
	for start := time.Now(); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Since(start) > patience {
			c.Fatalf("not within %v: %s", patience, what)
		}
	}
}
