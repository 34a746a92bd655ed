package logtest

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/jobguard/jobguard/guard/journal/record"
)

var takeChecks = []check{
	{"a record is due after its time, and not before", func(c *contract) {
		in := c.intent("k")
		in.Due = soon
		sent := time.Now()
		c.begin(c.A, in)
		c.within("the record is due", func() bool { return len(c.take(c.B)) == 1 })
		if after := time.Since(sent); after < soon {
			c.Errorf("due after %v, want not before %v", after, soon)
		}
	}},

	{"what was taken is left alone for a lap", func(c *contract) {
		in := c.began("k")
		lap := func(log record.Log) int {
			due, err := log.Take(c.ctx, record.Take{Kinds: []string{"charge"}, Max: 9, Lap: soon})
			c.must(err)
			if len(due) == 1 && (due[0].Ref != in.Ref() || due[0].Busy != 0) {
				c.Errorf("Take() = %+v", due)
			}
			return len(due)
		}
		c.within("the record is taken", func() bool { return lap(c.A) == 1 })
		taken := time.Now()
		c.within("it is due again", func() bool { return lap(c.B) == 1 })
		if after := time.Since(taken); after < soon/2 {
			c.Errorf("due again after %v", after)
		}
	}},

	{"only kinds that are asked for are taken, at most so many, the longest due first", func(c *contract) {
		var want []string
		for i := range 5 {
			in := c.intent(fmt.Sprint("k", i))
			in.Due = 0
			c.begin(c.A, in)
			want = append(want, in.ID)
			other := c.intent("k")
			other.Kind, other.Due = "other", 0
			c.begin(c.A, other)
			time.Sleep(2 * time.Millisecond)
		}
		take := func(n int, kinds ...string) (ids []string) {
			due, err := c.B.Take(c.ctx, record.Take{Kinds: kinds, Max: n, Lap: long})
			c.must(err)
			for _, d := range due {
				ids = append(ids, d.ID)
			}
			return ids
		}
		if got := take(9); len(got) != 0 {
			c.Errorf("without kinds %v are taken", got)
		}
		if got := take(3, "charge"); fmt.Sprint(got) != fmt.Sprint(want[:3]) {
			c.Errorf("taken %v, want %v", got, want[:3])
		}
		if got := take(100, "charge", "third"); fmt.Sprint(got) != fmt.Sprint(want[3:]) {
			c.Errorf("taken %v, want %v", got, want[3:])
		}
		if got := take(100, "charge", "other"); len(got) != 5 {
			c.Errorf("taken %v, want the 5 of the other kind", got)
		}
	}},

	{"of many that take at once, each record goes to one", func(c *contract) {
		const all = 60
		for i := range all {
			c.began(fmt.Sprint("k", i))
		}
		var mu sync.Mutex
		taken := make(map[string]int)
		var wg sync.WaitGroup
		for i := range 12 {
			log := []record.Log{c.A, c.B}[i%2]
			wg.Go(func() {
				for range all {
					due, err := log.Take(c.ctx, record.Take{Kinds: []string{"charge"}, Max: 7, Lap: long})
					if err != nil {
						c.Errorf("Take() = %v", err)
						return
					}
					if len(due) == 0 {
						return
					}
					mu.Lock()
					for _, d := range due {
						taken[d.ID]++
					}
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		for id, n := range taken {
			if n != 1 {
				c.Errorf("%s was taken %d times", id, n)
			}
		}
		for _, d := range c.take(c.A) { // one that met another may have left some
			taken[d.ID]++
		}
		if len(taken) != all {
			c.Errorf("%d of %d were taken", len(taken), all)
		}
	}},

	{"a postponed record is due after its pause, and known as busy", func(c *contract) {
		in := c.began("k")
		c.take(c.A)
		for busy := 1; busy <= 2; busy++ {
			c.must(c.B.Postpone(c.ctx, in.Ref(), 10*time.Millisecond))
			var due []record.Due
			c.within("it is due", func() bool { due = c.take(c.A); return len(due) == 1 })
			if due[0].Busy != busy {
				c.Errorf("busy %d times, want %d", due[0].Busy, busy)
			}
		}
	}},

	{"what became due meanwhile is not postponed, nor what is finished", func(c *contract) {
		in := c.began("k")
		c.take(c.A)
		c.end(c.A, in, record.EndFailed)
		c.must(c.B.Postpone(c.ctx, in.Ref(), long))
		if due := c.take(c.A); len(due) != 1 {
			c.Errorf("Take() = %+v, want the one that failed", due)
		}
		c.end(c.A, c.began("other"), record.EndDone)
		c.must(c.B.Postpone(c.ctx, record.Ref{ID: "id-2", Kind: "charge", Key: "other"}, 0))
		c.must(c.B.Postpone(c.ctx, record.Ref{ID: "none", Kind: "charge", Key: "k"}, 0))
		if due := c.take(c.A); len(due) != 0 {
			c.Errorf("Take() = %+v, want none", due)
		}
		c.wantStats(1, 0)
	}},
}

var contextChecks = []check{
	{"a call whose context has ended says so", func(c *contract) {
		ended, cancel := context.WithCancel(c.ctx)
		cancel()
		in := c.intent("k")
		_, err := c.A.Begin(ended, in)
		c.wantErr(err, context.Canceled)
		_, err = c.A.Take(ended, record.Take{Kinds: []string{"charge"}, Max: 1, Lap: long})
		c.wantErr(err, context.Canceled)
		c.wantErr(c.A.End(ended, record.End{Record: in.Record, Outcome: record.EndDone, Retain: long}), context.Canceled)
		_, err = c.A.Stats(ended)
		c.wantErr(err, context.Canceled)
	}},
}
