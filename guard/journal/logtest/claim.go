package logtest

import (
	"bytes"
	"fmt"
	"time"

	"github.com/jobguard/jobguard/guard/journal/record"
)

var claimChecks = []check{
	{"a run that has not reported is abandoned, to a claimant that has waited", func(c *contract) {
		before := time.Now()
		in := c.began("k")
		cl, claimed := c.claim(c.A, in, func(cl *record.Claim) { cl.Settled = false })
		if claimed.State != record.Unsettled {
			c.Fatalf("Claim() = state %d, want unsettled", claimed.State)
		}
		if due := c.take(c.A); len(due) != 1 {
			c.Errorf("Take() = %+v: an unsettled claim changed something", due)
		}
		cl.Settled = true
		claimed, err := c.B.Claim(c.ctx, cl)
		c.must(err)
		r := claimed.Record
		if claimed.State != record.Granted || r.Reason != record.Abandoned || r.ID != in.ID || r.Kind != "charge" || r.Key != "k" ||
			!bytes.Equal(r.Payload, in.Payload) || r.Checkpoint != nil || r.Fence != in.Fence || r.LatestFence != in.Fence || r.Attempt != 1 || r.Err != "" {
			c.Errorf("Claim() = %+v", claimed)
		}
		if d := r.Started.Sub(before); d < -patience || d > patience {
			c.Errorf("started %v from now by the log's clock", d)
		}
	}},

	{"a repeated claim is one attempt; another one is the next", func(c *contract) {
		in := c.began("k")
		cl, _ := c.granted(c.A, in)
		again, err := c.B.Claim(c.ctx, cl)
		c.must(err)
		if again.State != record.Granted || again.Record.Attempt != 1 {
			c.Errorf("repeated: %+v", again)
		}
		if _, r := c.granted(c.B, in); r.Attempt != 2 || r.Reason != record.Abandoned {
			c.Errorf("the next: %+v", r)
		}
	}},

	{"a claim under a lower token is refused", func(c *contract) {
		in := c.began("k")
		cl, _ := c.granted(c.A, in)
		if _, claimed := c.claim(c.B, in, func(low *record.Claim) { low.Fence = cl.Fence - 1 }); claimed.State != record.Refused {
			c.Errorf("Claim() = state %d, want refused", claimed.State)
		}
		if _, claimed := c.claim(c.B, in, func(same *record.Claim) { same.Fence = cl.Fence }); claimed.State != record.Granted {
			c.Errorf("Claim() = state %d under the same token, want granted", claimed.State)
		}
	}},

	{"a claimed record is due again after its lap", func(c *contract) {
		in := c.began("k")
		c.take(c.A)
		c.claim(c.A, in, func(cl *record.Claim) { cl.Lap = soon })
		c.within("it is due", func() bool { return len(c.take(c.B)) == 1 })
	}},

	{"compensation finishes a record", func(c *contract) {
		in := c.began("k")
		cl, _ := c.granted(c.A, in)
		c.resolve(c.B, cl, record.Compensated, record.Accepted)
		c.wantStats(0, 0)
		c.wantFinished(in)
		if due := c.take(c.A); len(due) > 0 {
			c.Errorf("Take() = %+v", due)
		}
		c.resolve(c.A, cl, record.Compensated, record.Accepted) // repeated
	}},

	{"a retry is due after its pause, with the handler's error and the run's reason", func(c *contract) {
		in := c.began("k")
		c.end(c.A, in, record.EndFailed, func(e *record.End) { e.Err = "fn" })
		cl, _ := c.granted(c.A, in)
		sent := time.Now()
		got, err := c.A.Resolve(c.ctx, record.Verdict{Ref: cl.Ref, By: cl.By, Result: record.Retry, After: soon, Err: "handler", Retain: long})
		c.must(err)
		if got != record.Accepted {
			c.Errorf("Resolve() = %d", got)
		}
		c.within("it is due", func() bool { return len(c.take(c.B)) == 1 })
		if after := time.Since(sent); after < soon {
			c.Errorf("due after %v, want not before %v", after, soon)
		}
		if _, r := c.granted(c.B, in); r.Attempt != 2 || r.Err != "handler" || r.Reason != record.Failed || !bytes.Equal(r.Payload, in.Payload) {
			c.Errorf("the record is %+v", r)
		}
	}},

	{"the verdict of an attempt is void once another has begun", func(c *contract) {
		in := c.began("k")
		old, _ := c.granted(c.A, in)
		now, _ := c.granted(c.B, in)
		for _, result := range []record.Result{record.Compensated, record.Retry, record.Die} {
			c.resolve(c.A, old, result, record.Void)
		}
		c.wantStats(1, 0)
		c.resolve(c.B, now, record.Compensated, record.Accepted)
		c.resolve(c.A, record.Claim{Ref: record.Ref{ID: "none", Kind: "charge", Key: "k"}, By: "x"}, record.Compensated, record.Void)
	}},

	{"a record tells the newest token of its key while it is open", func(c *contract) {
		a := c.began("k")
		b := c.began("k")
		c.end(c.A, b, record.EndDone)
		c.began("other")
		if _, r := c.granted(c.A, a); r.LatestFence != b.Fence || r.Fence != a.Fence {
			c.Errorf("the record is %+v, want latest %d", r, b.Fence)
		}
	}},
}

var deadChecks = []check{
	{"a dead record is neither open nor due, and listed in the order of death", func(c *contract) {
		var want []string
		for i := range 7 {
			in := c.began(fmt.Sprint("k", i))
			cl, _ := c.granted(c.A, in)
			c.resolve(c.B, cl, record.Die, record.Accepted)
			want = append(want, in.ID)
			time.Sleep(2 * time.Millisecond)
		}
		c.wantStats(0, 7)
		var got []string
		for cursor := ""; ; {
			page, next, err := c.B.Dead(c.ctx, cursor, 3)
			c.must(err)
			if len(page) > 3 {
				c.Fatalf("a page of %d", len(page))
			}
			for _, r := range page {
				got = append(got, r.ID)
				if r.Reason != record.Abandoned || r.Attempt != 1 || r.Err != "handler" || len(r.Payload) == 0 || r.Kind != "charge" || r.LatestFence < r.Fence {
					c.Errorf("the record is %+v", r)
				}
			}
			if cursor = next; cursor == "" {
				break
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			c.Errorf("Dead() gives %v, want %v", got, want)
		}
		if due := c.take(c.A); len(due) > 0 {
			c.Errorf("Take() = %+v", due)
		}
	}},

	{"a dead record is claimed by nobody, and its verdict can be repeated", func(c *contract) {
		in := c.began("k")
		cl, _ := c.granted(c.A, in)
		c.resolve(c.A, cl, record.Die, record.Accepted)
		c.resolve(c.B, cl, record.Die, record.Accepted)
		c.wantFinished(in)
		c.wantStats(0, 1)
	}},

	{"Requeue makes a dead record due, as if it were never tried", func(c *contract) {
		in := c.began("k")
		cl, _ := c.granted(c.A, in)
		c.resolve(c.A, cl, record.Die, record.Accepted)
		c.must(c.B.Requeue(c.ctx, in.ID))
		c.wantStats(1, 0)
		if due := c.take(c.A); len(due) != 1 || due[0].Busy != 0 || due[0].Ref != in.Ref() {
			c.Errorf("Take() = %+v", due)
		}
		if _, r := c.granted(c.A, in); r.Attempt != 1 || r.Reason != record.Abandoned || !bytes.Equal(r.Payload, in.Payload) {
			c.Errorf("the record is %+v", r)
		}
		c.wantErr(c.B.Requeue(c.ctx, in.ID), record.ErrNotFound)
	}},

	{"Drop deletes a dead record, and no other", func(c *contract) {
		in := c.began("k")
		c.wantErr(c.A.Drop(c.ctx, in.ID), record.ErrNotFound)
		cl, _ := c.granted(c.A, in)
		c.wantErr(c.A.Drop(c.ctx, in.ID), record.ErrNotFound)
		c.resolve(c.A, cl, record.Die, record.Accepted)
		c.must(c.B.Drop(c.ctx, in.ID))
		c.wantStats(0, 0)
		c.wantErr(c.A.Drop(c.ctx, in.ID), record.ErrNotFound)
		c.wantErr(c.A.Requeue(c.ctx, in.ID), record.ErrNotFound)
		c.wantErr(c.A.Requeue(c.ctx, "none"), record.ErrNotFound)
	}},
}
