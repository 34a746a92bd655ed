package storetest

import (
	"context"
	"time"

	"github.com/jobguard/jobguard/guard/lease"
)

// stopChecks are for a store that is a [lease.Stopper]; what it needs to have a message
// sent is Revoke.
var stopChecks = []check{
	{"a holder that listens is told to stop, with the reason, and keeps its lease", with(revoke), func(c *contract) {
		h := c.holder(c.A, c.key("k"), long)
		told := c.listen(c.A)
		c.Revoke(h.key, "by Ada")
		if got, want := c.told(told), (lease.Stop{Owner: h.owner, Kind: lease.Revoked, Text: "by Ada"}); got != want {
			c.Errorf("%+v, want %+v", got, want)
		}
		if !h.renew(long).Held {
			c.Error("the lease was lost")
		}
	}},

	{"each of several holders is told", with(revoke), func(c *contract) {
		r1, r2 := c.reader(c.A, c.key("k")), c.reader(c.A, c.key("k"))
		r1.mustHold(long)
		r2.mustHold(long)
		told := c.listen(c.A)
		c.Revoke(r1.key, "")
		for range 10 { // messages may come more than once
			if a, b := c.told(told), c.told(told); a.Owner != b.Owner {
				return
			}
		}
		c.Error("only one was told")
	}},

	{"of those that replace the holder only the one with the latest turn asks it to stop", with(revoke, queue), func(c *contract) {
		h := c.holder(c.A, c.key("k"), long)
		told := c.listen(c.A)
		first, second := c.client(c.B, h.key), c.client(c.B, h.key)
		one := first.replace(0)
		if one.Superseded || one.Turn == 0 {
			c.Fatalf("%+v", one)
		}
		c.within(patience, "the holder is told", func() bool { // it may not listen yet
			first.replace(one.Turn)
			time.Sleep(c.short / 5)
			return len(told) > 0
		})
		time.Sleep(c.short) // the last message has arrived
		for len(told) > 0 {
			if got := <-told; got != (lease.Stop{Owner: h.owner, Kind: lease.Replaced}) {
				c.Fatalf("told %+v", got)
			}
		}
		two := second.replace(0)
		c.told(told)
		if two.Superseded || two.Turn <= one.Turn {
			c.Errorf("%+v after %+v", two, one)
		}
		if r := first.replace(one.Turn); !r.Superseded {
			c.Errorf("%+v of a turn before the latest", r)
		}
		if r := second.replace(two.Turn); r.Superseded || r.Turn != two.Turn {
			c.Errorf("%+v of the latest turn", r)
		}
		c.told(told)
		if len(told) > 0 {
			c.Error("the earlier one asked the holder, too")
		}
	}},

	{"nothing is heard after the end of listening", with(revoke), func(c *contract) {
		h := c.holder(c.A, c.key("k"), long)
		store := c.stopper(c.A)
		told := make(chan lease.Stop, 100)
		store.Listen(func(s lease.Stop) bool { told <- s; return true })()
		other := c.listen(c.A)
		c.Revoke(h.key, "")
		c.told(other)
		if len(told) > 0 {
			c.Errorf("%+v", <-told)
		}
	}},
}

func (c *contract) stopper(s lease.Store) lease.Stopper {
	c.Helper()
	stopper, _ := s.(lease.Stopper)
	return stopper
}

// replace asks the holders of n's key to stop for n.
func (n *client) replace(turn int64) lease.ReplaceReply {
	n.c.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	reply, err := n.c.stopper(n.store).Replace(ctx, lease.ReplaceRequest{Key: n.key, Owner: n.owner, Turn: turn})
	if err != nil {
		n.c.Fatal(err)
	}
	return reply
}

// listen returns what s is told from now on.
func (c *contract) listen(s lease.Store) <-chan lease.Stop {
	c.Helper()
	told := make(chan lease.Stop, 100)
	c.Cleanup(c.stopper(s).Listen(func(stop lease.Stop) bool { told <- stop; return true }))
	return told
}

func (c *contract) told(stops <-chan lease.Stop) lease.Stop {
	c.Helper()
	select {
	case s := <-stops:
		return s
	case <-time.After(10 * time.Second):
		c.Fatal("no message came")
	}
	return lease.Stop{}
}
