package storetest

import (
	"strings"

	"github.com/jobguard/jobguard/guard/lease"
)

// hardKeys could be mistaken for each other, or for the store's own data.
func (c *contract) hardKeys() []string {
	id := c.run
	long512 := strings.Repeat("x", 512-len(id))
	return []string{
		id, "{" + id + "}", "{}" + id, "{" + id, id + "}", "}" + id + "{", "{{" + id + "}}",
		id + ":", ":" + id, "::" + id, id + "/a", id + "\\a", id + "%2Fa",
		id + " a", " " + id, id + " ", id + "A", id + "a",
		"q:" + id, "q:{" + id + "}", "q:{" + id + "}:" + id, "q:{0}:" + id, "fence:{" + id + "}", "fence:" + id,
		"h:" + id, "h:{0}:" + id, "r:{0}:" + id, "s:{0}:" + id, "shared|" + id, "limited|" + id,
		"inbox:" + id, "lock:" + id, "guard:" + id, "guard:guard:" + id, "closed|" + id,
		id + "|a", id + "*", id + "?", id + "[a]", id + "'\"", id + "$a", id + "\u00e9", id + "e\u0301",
		id + "界", id + "\U0001f512", id + "\xff", id + long512, id + long512[1:] + "y",
	}
}

var keyChecks = []check{
	{"no key is taken for another, whatever its characters", always, func(c *contract) {
		var holders, waiters []*client
		for _, key := range c.hardKeys() {
			holders = append(holders, c.holder(c.A, key, long))
		}
		for _, h := range holders {
			c.client(c.B, h.key).mustBeRefusedBy(h)
			if !c.NoQueue {
				waiters = append(waiters, c.waiter(c.B, h.key, long))
			}
		}
		for i, h := range holders {
			if reply := h.renew(long); !reply.Held {
				c.Errorf("Renew(%q) = %+v, want held", h.key, reply)
			}
			h.mustRelease()
			if !c.NoQueue {
				c.client(c.A, h.key).mustBeRefusedBy(waiters[i])
				waiters[i].mustHold(long)
				waiters[i].mustRelease()
			}
			c.holder(c.A, h.key, long)
		}
	}},

	{"no key of readers is taken for another, whatever its characters", always, func(c *contract) {
		readers := make(map[string][]*client)
		for _, key := range c.hardKeys() {
			for _, store := range []lease.Store{c.A, c.B} {
				r := c.reader(store, key)
				r.mustHold(long)
				readers[key] = append(readers[key], r)
			}
		}
		for key, rs := range readers {
			w := c.client(c.A, key)
			w.mustBeRefused(rs...)
			c.mustBeHolders(rs...)
			rs[0].mustRelease()
			w.mustBeRefused(rs[1])
			rs[1].mustRelease()
			w.mustHold(long)
		}
		for _, rs := range readers {
			c.mustNotBeHolders(rs...)
		}
	}},
}
