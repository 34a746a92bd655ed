package storetest

import (
	"reflect"
	"sync"

	"github.com/jobguard/jobguard/guard/lease"
)

var ownerChecks = []check{
	{"dynamic type is comparable", always, func(c *contract) {
		for _, store := range []lease.Store{c.A, c.B} {
			if typ := reflect.TypeOf(store); !typ.Comparable() {
				c.Errorf("%v is not comparable", typ)
			}
		}
	}},

	{"NewOwner never returns the same id twice", always, func(c *contract) {
		var mu sync.Mutex
		seen := make(map[string]bool)
		var wg sync.WaitGroup
		for _, store := range []lease.Store{c.A, c.B, c.A, c.B} {
			wg.Go(func() {
				for range 250 {
					owner := store.NewOwner("same")
					mu.Lock()
					if seen[owner] {
						c.Errorf("%q twice", owner)
					}
					seen[owner] = true
					mu.Unlock()
				}
			})
		}
		wg.Wait()
	}},

	{"metadata and name are readable in the id of a holder", always, func(c *contract) {
		const metadata = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
		h := c.client(c.A, c.key("k"))
		h.owner = c.A.NewOwner(metadata)
		h.mustHold(long)

		met := c.client(c.B, h.key).mustBeRefusedBy(h).Holder
		if got := lease.Metadata(met); got != metadata {
			c.Errorf("Metadata(%q) = %q, want %q", met, got, metadata)
		}
		if name := lease.OwnerName(met); name == "" || name == met {
			c.Errorf("OwnerName(%q) = %q, want a name", met, name)
		}
		if lease.OwnerProcess(met) == "" {
			c.Errorf("OwnerProcess(%q) is empty", met)
		}
	}},
}
