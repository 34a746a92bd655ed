package redisstore

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
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

// settles is more than masters take to hear of a slot that has just moved, and than the
// move of an ordinary slot takes.
const settles = 2 * time.Second

// agreement compares what the masters say of who serves each slot, twice: what is under way
// looks like a fault for a moment.
func (e *examination) agreement(ctx context.Context, nodes []node) {
	first, moving := disputed(ctx, nodes), movesOf(ctx, nodes)
	if len(first) == 0 && len(moving) == 0 {
		return
	}
	select {
	case <-time.After(settles):
	case <-ctx.Done():
		return
	}
	e.disputes(both(first, disputed(ctx, nodes)))
	e.moves(both(moving, movesOf(ctx, nodes)))
}

// both returns what is in a and b, with the values of b.
func both[K comparable, V any](a, b map[K]V) map[K]V {
	maps.DeleteFunc(b, func(k K, _ V) bool { _, ok := a[k]; return !ok })
	return b
}

// If two masters name each other a slot is served by none, although all of them count it as
// served. It stays so when two slots were moved at once (seen with Redis 7.0.15 and Valkey
// 8.1.1).
func (e *examination) disputes(slotsSaid map[int]string) {
	if len(slotsSaid) == 0 {
		return
	}
	e.note("cluster", Broken, fmt.Sprintf("masters do not agree who serves %d of %d slots: %s; keys of such slots may have no leases", len(slotsSaid), slots, slotsSaid[slices.Min(slices.Collect(maps.Keys(slotsSaid)))]),
		"redis-cli --cluster check names the slots, redis-cli --cluster fix mends them; move one slot after another")
}

// moves judges slots that have been on their way for a while.
func (e *examination) moves(open map[int]move) {
	byFault := map[bool][]int{}
	for slot, m := range open {
		byFault[m.refused] = append(byFault[m.refused], slot)
	}
	const fix = "if no tool is moving slots now: redis-cli --cluster fix"
	for refused, all := range byFault {
		m := open[slices.Min(all)]
		what := fmt.Sprintf("slot %d from %s to %s", slices.Min(all), m.from, m.to)
		if len(all) > 1 {
			what += fmt.Sprintf(" and %d others", len(all)-1)
		}
		if refused {
			e.note("cluster", Broken, "a move was left half done: "+what+", which does not take it: free keys cannot be acquired", fix)
		} else {
			e.note("cluster", Risk, "a move goes on or was left half done: "+what+": while it lasts, keys with a Limit are not granted and the queue rests", fix)
		}
	}
}

// move is a slot that a master gives away.
type move struct {
	from, to string // names; of to, its id if it is none of those that were asked
	refused  bool   // the other one was asked, and does not take it
}

// movesOf returns the open moves by slot.
func movesOf(ctx context.Context, nodes []node) map[int]move {
	type half struct {
		slot     int
		from, to string // ids
	}
	names := make(map[string]string) // by id
	var given []half
	taken := make(map[half]bool)
	for _, n := range nodes {
		text, err := n.client.ClusterNodes(ctx).Result()
		if err != nil {
			continue // the right is missing, or it does not answer: found elsewhere
		}
		id, entries := myself(text)
		names[id] = n.name
		for _, entry := range entries { // [slot->-id] or [slot-<-id]
			entry = strings.Trim(entry, "[]")
			if number, to, ok := strings.Cut(entry, "->-"); ok {
				slot, _ := strconv.Atoi(number)
				given = append(given, half{slot, id, to})
			} else if number, from, ok := strings.Cut(entry, "-<-"); ok {
				slot, _ := strconv.Atoi(number)
				taken[half{slot, from, id}] = true
			}
		}
	}
	open := make(map[int]move)
	for _, h := range given {
		name, asked := names[h.to]
		if !asked {
			name = h.to
		}
		open[h.slot] = move{from: names[h.from], to: name, refused: asked && !taken[h]}
	}
	return open
}

// myself returns the id of the node that says text, and what it says of its slots on
// their way.
func myself(text string) (id string, entries []string) {
	for line := range strings.Lines(text) {
		if fields := strings.Fields(line); len(fields) >= 8 && strings.Contains(fields[2], "myself") {
			return fields[0], slices.DeleteFunc(fields[8:], func(s string) bool { return !strings.HasPrefix(s, "[") })
		}
	}
	return "", nil
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
		for slot := range says {
			switch before, at := &said[slot], says[slot]; {
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
