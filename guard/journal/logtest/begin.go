package logtest

import (
	"bytes"
	"errors"
	"sync"
	"time"

	"github.com/jobguard/jobguard/guard/journal/record"
)

var beginChecks = []check{
	{"an intent is open, and counted with its age", func(c *contract) {
		c.wantStats(0, 0)
		c.begin(c.A, c.intent("a"))
		time.Sleep(20 * time.Millisecond)
		c.begin(c.B, c.intent("b"))
		c.wantStats(2, 0)
		s, err := c.A.Stats(c.ctx)
		c.must(err)
		if s.Oldest < 20*time.Millisecond || s.Oldest > patience {
			c.Errorf("the oldest is %v old, want a little more than 20ms", s.Oldest)
		}
	}},

	{"a repetition of Begin is one Begin", func(c *contract) {
		in := c.intent("k")
		c.begin(c.A, in)
		c.begin(c.B, in)
		c.wantStats(1, 0)
	}},

	{"a full log refuses, and takes as many as were finished", func(c *contract) {
		var all []record.Intent
		for i := range 3 {
			in := c.intent("k")
			in.MaxOpen = 3
			all = append(all, in)
			c.begin(c.A, in)
			if i == 0 {
				c.begin(c.A, in) // a repetition needs no room
			}
		}
		in := c.intent("other")
		in.MaxOpen = 3
		_, err := c.B.Begin(c.ctx, in)
		c.wantErr(err, record.ErrFull)
		c.begin(c.A, all[0]) // nor when it is full
		c.end(c.A, all[0], record.EndDone)
		c.begin(c.B, in)
		c.wantStats(3, 0)
	}},

	{"the dead do not fill a log", func(c *contract) {
		in := c.began("k")
		cl, _ := c.granted(c.A, in)
		c.resolve(c.A, cl, record.Die, record.Accepted)
		next := c.intent("k")
		next.MaxOpen = 1
		c.begin(c.A, next)
		c.wantStats(1, 1)
	}},

	{"MaxOpen holds when many begin at once, and there is no room left", func(c *contract) {
		const most, all = 5, 16
		for range 2 { // an empty log, and one in use
			begun := c.beginAtOnce(all, most)
			if len(begun) != most {
				c.Errorf("%d could begin, want %d", len(begun), most)
			}
			c.wantStats(most, 0)
			for _, in := range begun {
				c.end(c.B, in, record.EndDone)
			}
		}
	}},

	{"an ordered Begin finds the open records of its key, oldest first", func(c *contract) {
		a, b := c.began("k"), c.began("k")
		c.began("other")
		c.end(c.A, c.began("k"), record.EndDone)
		in := c.intent("k")
		in.Ordered = true
		open, err := c.B.Begin(c.ctx, in)
		c.must(err)
		if len(open) != 2 || open[0].Ref != a.Ref() || open[1].Ref != b.Ref() || open[0].Backoff > 0 {
			c.Errorf("Begin() found %+v, want %s and %s", open, a.ID, b.ID)
		}
		c.wantStats(3, 0)
		for _, in := range []record.Intent{a, b} {
			cl, _ := c.granted(c.A, in)
			c.resolve(c.A, cl, record.Compensated, record.Accepted)
		}
		c.begin(c.B, in)
	}},

	{"an ordered Begin sees for how long a handler that failed is left in peace", func(c *contract) {
		a := c.began("k")
		in := c.intent("k")
		in.Ordered = true
		cl, _ := c.granted(c.A, a)
		open, err := c.A.Begin(c.ctx, in)
		c.must(err)
		if len(open) != 1 || open[0].Backoff > 0 {
			c.Errorf("Begin() found %+v while an attempt goes on, want no back-off", open)
		}
		_, err = c.A.Resolve(c.ctx, record.Verdict{Ref: cl.Ref, By: cl.By, Result: record.Retry, After: time.Minute})
		c.must(err)
		open, err = c.A.Begin(c.ctx, in)
		c.must(err)
		if len(open) != 1 || open[0].Backoff <= 50*time.Second || open[0].Backoff > time.Minute {
			c.Errorf("Begin() found %+v, want a back-off of a minute", open)
		}
	}},

	{"an ordered Begin is not held up by a run under the same token, until that has failed", func(c *contract) {
		outer, inner := c.intent("k"), c.intent("k")
		inner.Fence, inner.Ordered = outer.Fence, true
		c.begin(c.A, outer)
		c.begin(c.A, inner)
		c.end(c.A, inner, record.EndFailed)
		again := c.intent("k")
		again.Fence, again.Ordered = outer.Fence, true
		open, err := c.A.Begin(c.ctx, again)
		c.must(err)
		if len(open) != 1 || open[0].Ref != inner.Ref() {
			c.Errorf("Begin() found %+v, want the one that failed", open)
		}
	}},

	{"keys and payloads may be any bytes", func(c *contract) {
		for _, key := range []string{"{a}b", "a:b", "a b\"'\\", "ключ", "}{", "%s%d"} {
			in := c.began(key)
			_, r := c.granted(c.B, in)
			if r.Key != key || !bytes.Equal(r.Payload, in.Payload) || r.Kind != "charge" || r.Fence != in.Fence {
				c.Errorf("key %q: the record is %+v", key, r)
			}
		}
	}},

	{"payload and checkpoint of 64 KiB are kept", func(c *contract) {
		in := c.intent("k")
		in.Payload = make([]byte, record.Most/2)
		in.Payload[record.Most/2-1] = 7
		c.begin(c.A, in)
		data := make([]byte, record.Most/2)
		data[0] = 8
		c.must(c.A.Checkpoint(c.ctx, in.Ref(), 1, data))
		_, r := c.granted(c.B, in)
		if !bytes.Equal(r.Payload, in.Payload) || !bytes.Equal(r.Checkpoint, data) {
			c.Errorf("%d and %d bytes are kept", len(r.Payload), len(r.Checkpoint))
		}
	}},

	{"a checkpoint that arrives late changes nothing", func(c *contract) {
		in := c.began("k")
		c.must(c.A.Checkpoint(c.ctx, in.Ref(), 2, []byte("2")))
		c.must(c.A.Checkpoint(c.ctx, in.Ref(), 2, []byte("2"))) // repeated
		c.must(c.B.Checkpoint(c.ctx, in.Ref(), 1, []byte("1"))) // it was on its way, and its caller has given up
		failed := c.began("k")
		c.must(c.A.Checkpoint(c.ctx, failed.Ref(), 1, []byte("1")))
		c.end(c.A, failed, record.EndFailed, func(e *record.End) { e.Checkpoint = []byte("2") })
		c.wantErr(c.B.Checkpoint(c.ctx, failed.Ref(), 3, []byte("3")), record.ErrNotFound)
		for _, in := range []record.Intent{in, failed} {
			if _, r := c.granted(c.A, in); string(r.Checkpoint) != "2" {
				c.Errorf("the checkpoint is %q, want the last one", r.Checkpoint)
			}
		}
	}},

	{"the last checkpoint counts, until the record is claimed", func(c *contract) {
		in := c.began("k")
		c.must(c.A.Checkpoint(c.ctx, in.Ref(), 1, []byte("1")))
		c.must(c.B.Checkpoint(c.ctx, in.Ref(), 2, []byte("2")))
		_, r := c.granted(c.A, in)
		if string(r.Checkpoint) != "2" {
			c.Errorf("the checkpoint is %q", r.Checkpoint)
		}
		c.wantErr(c.A.Checkpoint(c.ctx, in.Ref(), 3, []byte("3")), record.ErrNotFound)
		done := c.began("k")
		c.end(c.A, done, record.EndDone)
		c.wantErr(c.A.Checkpoint(c.ctx, done.Ref(), 3, []byte("3")), record.ErrNotFound)
		c.wantErr(c.A.Checkpoint(c.ctx, record.Ref{ID: "none", Kind: "charge", Key: "k"}, 3, []byte("3")), record.ErrNotFound)
	}},
}

// beginAtOnce begins n runs at once, half of them in either process, and returns those
// that were not refused.
func (c *contract) beginAtOnce(n, most int) (begun []record.Intent) {
	var mu sync.Mutex // guards begun
	var wg sync.WaitGroup
	for i := range n {
		in, log := c.intent("k"), []record.Log{c.A, c.B}[i%2]
		in.MaxOpen = most
		wg.Go(func() {
			_, err := log.Begin(c.ctx, in)
			if errors.Is(err, record.ErrFull) {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				c.Error(err)
				return
			}
			begun = append(begun, in)
		})
	}
	wg.Wait()
	return begun
}
