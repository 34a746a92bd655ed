package redisstore

import (
	"context"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

const mendCluster = "redis-cli --cluster fix, or start the missing masters"

// slots judges a Cluster as this master sees it.
func (e *examination) slots(n node, f facts) {
	if f.cluster == nil {
		return
	}
	served, failing := number(f.cluster, "cluster_slots_ok"), number(f.cluster, "cluster_slots_pfail")+number(f.cluster, "cluster_slots_fail")
	switch {
	case f.cluster["cluster_state"] != "ok":
		e.note("cluster", Broken, n.says(fmt.Sprintf("says that the Cluster is down, with %d of %d slots served: no lease is granted", served, slots)), mendCluster)
	case served < slots || failing > 0:
		e.note("cluster", Broken, n.says(fmt.Sprintf("sees %d of %d slots served: keys of the others have no leases", served, slots)), mendCluster)
	}
}

// settles is more than masters take to hear of a slot that has just moved.
const settles = 2 * time.Second

// agreement compares what the masters say of who serves each slot: if two name each other
// a slot is served by none, although all of them count it as served. It stays so when two
// slots were moved at once (seen with Redis 7.0.15 and Valkey 8.1.1).
func (e *examination) agreement(ctx context.Context, nodes []node) {
	first := disputed(ctx, nodes)
	if len(first) == 0 {
		return
	}
	select {
	case <-time.After(settles):
	case <-ctx.Done():
		return
	}
	var why string
	count := 0
	for slot, says := range disputed(ctx, nodes) {
		if first[slot] != "" {
			count++
			if why == "" || says < why {
				why = says
			}
		}
	}
	if count > 0 {
		e.note("cluster", Broken, fmt.Sprintf("masters do not agree who serves %d of %d slots: %s; keys of such slots may have no leases", count, slots, why),
			"redis-cli --cluster check names the slots, redis-cli --cluster fix mends them; move one slot after another")
	}
}

// disputed returns the slots on which two masters do not agree, and what these say.
func disputed(ctx context.Context, nodes []node) map[int]string {
	var said [slots]struct{ by, id, addr string }
	found := make(map[int]string)
	for _, n := range nodes {
		ranges, err := n.client.ClusterSlots(ctx).Result()
		if err != nil {
			continue // it does not answer, or the right is missing: found elsewhere
		}
		var says [slots]redis.ClusterNode
		for _, r := range ranges {
			for slot := max(r.Start, 0); slot <= r.End && slot < slots && len(r.Nodes) > 0; slot++ {
				says[slot] = r.Nodes[0]
			}
		}
		for slot, at := range says {
			switch before := &said[slot]; {
			case before.by == "":
				before.by, before.id, before.addr = n.name, at.ID, at.Addr
			case before.id != at.ID:
				found[slot] = fmt.Sprintf("of slot %d %s says %s, and %s says %s", slot, before.by, named(before.addr), n.name, named(at.Addr))
			}
		}
	}
	return found
}

// named is the address of a master, or that there is none.
func named(addr string) string {
	if addr == "" {
		return "nobody"
	}
	return addr
}
