package quorum

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"github.com/jobguard/jobguard/guard/lease"
)

// simNode is one simulated server: leases, queues, and one token counter for all keys, as
// two keys of one slot have on Redis. Its clock differs from others in what it shows, which
// makes tokens, and in its rate, by which leases expire.
type simNode struct {
	w      *simWorld
	offset time.Duration // of the clock that makes tokens
	rate   float64       // seconds that it counts in a second

	mu     sync.Mutex
	keys   map[string]*simKey
	fence  int64
	down   bool // requests are lost
	paused bool // requests are carried out when it resumes
	buried []func()
}

type simKey struct {
	name  string
	owner string
	until time.Time // of the world, with the node's rate accounted for
	queue []simWaiter
}

type simWaiter struct {
	owner       string
	ticket      int64
	reservation time.Duration
	tokens      int // that a grant mints
	store       *simStore
}

// life is how long, in the world's time, the node keeps what has this TTL.
func (n *simNode) life(ttl time.Duration) time.Duration { return time.Duration(float64(ttl) / n.rate) }

func (n *simNode) micros() int64 { return time.Now().Add(n.offset).UnixMicro() }

func (n *simNode) keyLocked(key string) *simKey {
	k := n.keys[key]
	if k == nil {
		k = &simKey{name: key}
		n.keys[key] = k
	}
	if k.owner != "" && !time.Now().Before(k.until) {
		k.owner = ""
	}
	return k
}

func (n *simNode) acquireLocked(s *simStore, r lease.AcquireRequest) lease.AcquireReply {
	k := n.keyLocked(r.Key)
	until := time.Now().Add(n.life(r.TTL))
	if k.owner == r.Owner {
		if until.After(k.until) {
			k.until = until
		}
		return n.mintLocked(r.TokenCount)
	}
	if k.owner == "" && len(k.queue) > 0 && k.queue[0].owner != r.Owner {
		n.grantHeadLocked(k)
	}
	k.leave(r.Owner)
	if k.owner == "" {
		k.owner, k.until = r.Owner, until
		return n.mintLocked(r.TokenCount)
	}
	reply := lease.AcquireReply{Holder: k.owner, Remaining: time.Until(k.until)}
	if r.Join {
		if r.Ticket == 0 {
			r.Ticket = n.micros()
		}
		k.queue = append(k.queue, simWaiter{r.Owner, r.Ticket, r.Reservation, max(1, r.GrantTokens), s})
		slices.SortStableFunc(k.queue, func(a, b simWaiter) int { return cmp.Compare(a.ticket, b.ticket) })
		reply.Ticket = r.Ticket
	}
	return reply
}

func (k *simKey) leave(owner string) {
	k.queue = slices.DeleteFunc(k.queue, func(w simWaiter) bool { return w.owner == owner })
}

func (n *simNode) mintLocked(want int) lease.AcquireReply {
	now := n.micros()
	first := max(n.fence+1, now)
	count := max(1, min(int64(want), now+10_000-first+1))
	n.fence = first + count - 1
	return lease.AcquireReply{Granted: true, Fence: first, TokenCount: int(count)}
}

func (n *simNode) grantHeadLocked(k *simKey) {
	if len(k.queue) == 0 {
		return
	}
	head := k.queue[0]
	k.queue = k.queue[1:]
	k.owner, k.until = head.owner, time.Now().Add(n.life(head.reservation))
	minted := n.mintLocked(head.tokens)
	head.store.wake(k.name, head.owner, lease.Grant{Fence: minted.Fence, TokenCount: minted.TokenCount, Since: time.Now()})
}

func (n *simNode) renewLocked(r lease.RenewRequest) lease.RenewReply {
	k := n.keyLocked(r.Key)
	if k.owner != r.Owner {
		return lease.RenewReply{Holder: k.owner}
	}
	until := time.Now().Add(n.life(r.TTL))
	if r.Fence > 0 && until.Before(k.until) {
		until = k.until
	}
	k.until = until
	if r.Fence > 0 {
		n.fence = max(n.fence+1, r.Fence)
	}
	return lease.RenewReply{Held: true}
}

func (n *simNode) releaseLocked(r lease.ReleaseRequest) lease.ReleaseReply {
	k := n.keyLocked(r.Key)
	k.leave(r.Owner)
	held := k.owner == r.Owner
	if held {
		if r.Fence != r.LastFence && n.fence == r.LastFence {
			n.fence = r.Fence
		}
		k.owner = ""
	}
	if k.owner == "" {
		n.grantHeadLocked(k)
	}
	return lease.ReleaseReply{Released: held}
}

// crash takes the node away for d, with or without its data.
func (n *simNode) crash(d time.Duration, empty bool) {
	n.mu.Lock()
	n.down, n.buried = true, nil
	if empty {
		n.keys, n.fence = make(map[string]*simKey), 0
	}
	n.mu.Unlock()
	time.AfterFunc(d, func() {
		n.mu.Lock()
		n.down = false
		n.mu.Unlock()
	})
}

// pause stops the node for d. What it was sent meanwhile is carried out then.
func (n *simNode) pause(d time.Duration) {
	n.mu.Lock()
	n.paused = true
	n.mu.Unlock()
	time.AfterFunc(d, func() {
		n.mu.Lock()
		buried := n.buried
		n.paused, n.buried = false, nil
		n.mu.Unlock()
		for _, do := range buried {
			do()
		}
	})
}

// arrive carries a request out, or buries it.
func (n *simNode) arrive(do func()) {
	n.mu.Lock()
	switch {
	case n.down:
	case n.paused:
		n.buried = append(n.buried, func() { n.arrive(do) })
	default:
		do() // with n.mu held
	}
	n.mu.Unlock()
}
