package redisstore_test

import (
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/jobguard/jobguard/guard/lease"
	"github.com/jobguard/jobguard/internal/redistest"
)

// Lua would write a great number as 1.7e+15, and the scripts read what Lua gets.
func TestFenceCounterIsWrittenInFull(t *testing.T) {
	p := newProcess(t, redistest.Start(t).Client(t))
	owner := p.NewOwner("")
	for _, n := range []int{1, 5, 1 << 30} {
		p.tokens(owner, n)
		if stored := p.client.Eval(t.Context(), "return redis.call('ZSCORE', KEYS[1], 't')", []string{p.counter()}).Val().(string); strings.ContainsAny(stored, "e.") || len(stored) != 16 {
			t.Errorf("after %d tokens the counter is %q", n, stored)
		}
	}
}

func TestFenceCounterFarAheadRisesByOne(t *testing.T) {
	p := newProcess(t, redistest.Start(t).Client(t))
	owner := p.NewOwner("")
	p.tokens(owner, 1)
	for _, wanted := range []int{1, 100} {
		p.client.ZAdd(t.Context(), p.counter(), redis.Z{Score: 4000000000000000, Member: "t"})
		p.release("k", owner)
		if r := p.tokens(owner, wanted); r.Fence != 4000000000000001 || r.TokenCount != 1 {
			t.Errorf("%d wanted: %+v", wanted, r)
		}
	}
}

func (p *process) tokens(owner string, n int) lease.AcquireReply {
	p.t.Helper()
	r, err := p.acquire(lease.AcquireRequest{Key: "k", Owner: owner, TokenCount: n})
	if err != nil || !r.Granted {
		p.t.Fatal(r, err)
	}
	return r
}

func (p *process) counter() string {
	return p.client.Keys(p.t.Context(), "guard:tokens:*").Val()[0]
}
