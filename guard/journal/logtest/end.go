package logtest

import (
	"bytes"
	"time"

	"github.com/jobguard/jobguard/guard/journal/record"
)

var endChecks = []check{
	{"a run that is done is not open, nor due", func(c *contract) {
		in := c.began("k")
		c.end(c.B, in, record.EndDone)
		c.wantStats(0, 0)
		c.wantFinished(in)
		if due := c.take(c.A); len(due) > 0 {
			c.Errorf("Take() = %+v", due)
		}
		c.end(c.B, in, record.EndDone) // repeated
		c.wantStats(0, 0)
	}},

	{"a run that failed or was late is due at once, with its reason and error", func(c *contract) {
		for _, outcome := range []record.Outcome{record.EndFailed, record.EndLate} {
			in := c.intent("k")
			c.begin(c.A, in)
			c.must(c.A.Checkpoint(c.ctx, in.Ref(), 1, []byte("half")))
			c.end(c.A, in, outcome, func(e *record.End) { e.Err = "why"; e.Checkpoint = []byte("half") })
			if due := c.take(c.B); len(due) != 1 || due[0].Ref != in.Ref() {
				c.Errorf("Take() = %+v after %s", due, outcome)
			}
			_, claimed := c.claim(c.B, in, func(cl *record.Claim) { cl.Settled = false })
			if r := claimed.Record; claimed.State != record.Granted || r.Reason != record.Reason(outcome) || r.Err != "why" ||
				string(r.Checkpoint) != "half" || !bytes.Equal(r.Payload, in.Payload) || r.Attempt != 1 {
				c.Errorf("Claim() = %+v after %s", claimed, outcome)
			}
		}
	}},

	{"a run that never began is forgotten", func(c *contract) {
		in := c.began("k")
		c.end(c.A, in, record.EndVoid)
		c.wantStats(0, 0)
		c.wantFinished(in)
		c.end(c.A, in, record.EndVoid)
	}},

	{"a run that ends while its compensation goes on is told once more, as late", func(c *contract) {
		for _, outcome := range []record.Outcome{record.EndDone, record.EndFailed, record.EndLate} {
			for _, result := range []record.Result{record.Compensated, record.Retry, record.Die} {
				in := c.began("k")
				cl, _ := c.granted(c.A, in)
				c.endLate(c.B, in, outcome, func(e *record.End) { e.Err = "late"; e.Checkpoint = []byte("end") })
				c.resolve(c.A, cl, result, record.Again)
				if due := c.take(c.B); len(due) != 1 {
					c.Errorf("Take() = %+v after %s and %s", due, outcome, result)
				}
				cl, r := c.granted(c.B, in)
				if r.Reason != record.Late || r.Attempt != 1 || r.Err != "late" || string(r.Checkpoint) != "end" || !bytes.Equal(r.Payload, in.Payload) {
					c.Errorf("the record is %+v after %s and %s", r, outcome, result)
				}
				c.resolve(c.B, cl, record.Compensated, record.Accepted)
				c.wantFinished(in)
			}
		}
		c.wantStats(0, 0)
	}},

	{"a run that ends between two attempts is told as if it were never tried", func(c *contract) {
		in := c.began("k")
		for range 3 {
			cl, _ := c.granted(c.A, in)
			c.resolve(c.A, cl, record.Retry, record.Accepted)
		}
		c.endLate(c.B, in, record.EndFailed)
		if _, r := c.granted(c.A, in); r.Reason != record.Late || r.Attempt != 1 {
			c.Errorf("the record is %+v, want a first attempt", r)
		}
	}},

	{"a run that ends after it was compensated is told once more, as late", func(c *contract) {
		in := c.began("k")
		cl, _ := c.granted(c.A, in)
		c.resolve(c.A, cl, record.Compensated, record.Accepted)
		c.wantStats(0, 0)
		c.endLate(c.B, in, record.EndDone)
		c.wantStats(1, 0)
		cl, r := c.granted(c.A, in)
		if r.Reason != record.Late || !bytes.Equal(r.Payload, in.Payload) || r.Key != in.Key || r.Kind != in.Kind {
			c.Errorf("the record is %+v", r)
		}
		c.resolve(c.A, cl, record.Compensated, record.Accepted)
		c.wantStats(0, 0)
	}},

	{"what is open again is kept longer than what was finished", func(c *contract) {
		in := c.began("k")
		cl, _ := c.granted(c.A, in)
		_, err := c.A.Resolve(c.ctx, record.Verdict{Ref: cl.Ref, By: cl.By, Result: record.Compensated, Retain: time.Second})
		c.must(err)
		c.end(c.B, in, record.EndLate)
		time.Sleep(1200 * time.Millisecond)
		if _, r := c.granted(c.A, in); r.Reason != record.Late || !bytes.Equal(r.Payload, in.Payload) {
			c.Errorf("the record is %+v", r)
		}
	}},

	{"a run that ends after its record died is told once more, as late", func(c *contract) {
		in := c.began("k")
		cl, _ := c.granted(c.A, in)
		c.resolve(c.A, cl, record.Die, record.Accepted)
		c.end(c.B, in, record.EndLate)
		c.wantStats(1, 0)
		if _, r := c.granted(c.A, in); r.Reason != record.Late || r.Attempt != 1 {
			c.Errorf("the record is %+v", r)
		}
	}},

	{"a done run turns out to be late, but not one whose transaction made it done", func(c *contract) {
		in := c.began("k")
		c.end(c.A, in, record.EndDone)
		c.end(c.A, in, record.EndFailed)
		c.wantFinished(in)
		c.end(c.A, in, record.EndLate, func(e *record.End) { e.Sealed = true })
		c.wantFinished(in)
		c.end(c.A, in, record.EndLate)
		c.wantStats(1, 0)
		if _, r := c.granted(c.B, in); r.Reason != record.Late || !bytes.Equal(r.Payload, in.Payload) {
			c.Errorf("the record is %+v", r)
		}
	}},

	{"what the log has lost is stored again by a failure, and by nothing else", func(c *contract) {
		done, failed, late := c.intent("k"), c.intent("k"), c.intent("k")
		c.end(c.A, done, record.EndDone)
		c.end(c.A, c.intent("k"), record.EndVoid)
		c.wantStats(0, 0)
		c.end(c.A, failed, record.EndFailed)
		c.end(c.A, late, record.EndLate)
		c.end(c.A, late, record.EndLate)
		c.wantStats(2, 0)
		for _, in := range []record.Intent{failed, late} {
			if _, r := c.granted(c.B, in); !bytes.Equal(r.Payload, in.Payload) || r.Key != in.Key || r.Fence != in.Fence {
				c.Errorf("the record is %+v", r)
			}
		}
	}},

	{"a mismatch is stored once, until it was compensated", func(c *contract) {
		in := c.intent("k")
		for range 2 {
			for range 2 {
				c.end(c.A, in, record.EndMismatch, func(e *record.End) { e.Err = "differs" })
			}
			c.wantStats(1, 0)
			if due := c.take(c.B); len(due) != 1 || due[0].Ref != in.Ref() {
				c.Errorf("Take() = %+v", due)
			}
			cl, claimed := c.claim(c.A, in, func(cl *record.Claim) { cl.Settled = false })
			if r := claimed.Record; claimed.State != record.Granted || r.Reason != record.Mismatch || r.Attempt != 1 || r.Err != "differs" || !bytes.Equal(r.Payload, in.Payload) {
				c.Errorf("Claim() = %+v", claimed)
			}
			c.resolve(c.A, cl, record.Compensated, record.Accepted)
		}
		c.end(c.A, in, record.EndMismatch)
		cl, _ := c.granted(c.A, in)
		c.resolve(c.A, cl, record.Die, record.Accepted)
		c.end(c.A, in, record.EndMismatch)
		c.wantStats(0, 1)
	}},

	{"finished records are forgotten after their retention", func(c *contract) {
		in := c.began("k")
		c.end(c.A, in, record.EndDone, func(e *record.End) { e.Retain = time.Second })
		c.end(c.A, in, record.EndFailed) // it is known as done
		c.wantStats(0, 0)
		c.within("the record is forgotten", func() bool {
			c.must(c.A.End(c.ctx, record.End{Record: in.Record, Outcome: record.EndFailed, Retain: long}))
			s, err := c.A.Stats(c.ctx)
			c.must(err)
			return s.Open == 1
		})
	}},
}
