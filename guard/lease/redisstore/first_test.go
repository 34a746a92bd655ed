package redisstore_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/jobguard/jobguard/guard/lease"
	"github.com/jobguard/jobguard/guard/lease/redisstore"
	"github.com/jobguard/jobguard/internal/redistest"
)

// firsts returns a process whose Acquires are first tries, and that knows its server's
// time, which has a counter for k.
func firsts(t *testing.T, proxy *redistest.Proxy) *process {
	p := newProcess(t, dial(t, proxy))
	redisstore.AlwaysTryFirst(p.Store)
	owner := p.NewOwner("")
	p.granted("k", owner)
	p.release("k", owner)
	return p
}

// withoutScript has acquire take k until no script ran. A stall of the machine is no reason to
// fail: after 25 ms a script mints the token.
func withoutScript(t *testing.T, admin *redis.Client, acquire func()) {
	t.Helper()
	var stats string
	for range 10 {
		admin.Del(t.Context(), "guard:k")
		admin.ConfigResetStat(t.Context())
		acquire()
		if stats = admin.Info(t.Context(), "commandstats").Val(); !strings.Contains(stats, "cmdstat_eval") {
			return
		}
		time.Sleep(10 * time.Millisecond) // tokens may be as far ahead of the clock
	}
	t.Errorf("a script for a key that is free: %s", stats)
}

func TestFirstTryRunsNoScript(t *testing.T) {
	server := redistest.Start(t)
	p, admin := firsts(t, redistest.NewProxy(t, server.Addr())), server.Client(t)
	withoutScript(t, admin, func() { p.granted("k", p.NewOwner("")) })
}

// hold grants k with n tokens for good.
func (p *process) hold(n int) lease.AcquireReply {
	p.t.Helper()
	r, err := p.acquire(lease.AcquireRequest{Key: "k", Owner: p.NewOwner(""), TokenCount: n, KeepUnused: true})
	if err != nil || !r.Granted {
		p.t.Fatalf("acquire: %+v, %v", r, err)
	}
	return r
}

func TestFirstTryForTokensThatAreKeptRunsNoScript(t *testing.T) {
	server := redistest.Start(t)
	p, admin := firsts(t, redistest.NewProxy(t, server.Addr())), server.Client(t)
	var r lease.AcquireReply
	withoutScript(t, admin, func() { r = p.hold(5000) })
	if r.TokenCount != 5000 {
		t.Errorf("%d tokens, want 5000", r.TokenCount)
	}
	if got, last := int64(admin.ZScore(t.Context(), counterOfK, "t").Val()), r.Fence+4999; got != last {
		t.Errorf("the counter is %d, want the last token, %d", got, last)
	}
}

var counterOfK = "guard:tokens:{" + redisstore.TagOf("guard:k") + "}"

func TestTokensOfAFirstTryAreAboveThoseThatAreAheadOfTheClock(t *testing.T) {
	server := redistest.Start(t)
	p, admin := firsts(t, redistest.NewProxy(t, server.Addr())), server.Client(t)
	ahead := admin.Time(t.Context()).Val().UnixMicro() + 5000
	admin.ZAdd(t.Context(), counterOfK, redis.Z{Score: float64(ahead), Member: "t"})
	if r := p.hold(10_000); r.Fence <= ahead {
		t.Errorf("token %d after %d", r.Fence, ahead)
	}
}

// Another key of the slot may be given tokens between the commands of a first try. If the
// counter were then set back to where the range began, they would be minted again.
func TestTokensThatMayBeTakenBackAreMintedByAScript(t *testing.T) {
	server := redistest.Start(t)
	p, admin := firsts(t, redistest.NewProxy(t, server.Addr())), server.Client(t)
	admin.ConfigResetStat(t.Context())
	r, err := p.acquire(lease.AcquireRequest{Key: "k", Owner: p.NewOwner(""), TokenCount: 100})
	noError(t, err)
	if stats := admin.Info(t.Context(), "commandstats").Val(); !r.Granted || !strings.Contains(stats, "cmdstat_eval") {
		t.Errorf("%+v without a script: %s", r, stats)
	}
}

func TestTokenOfAFirstTryThatTookLongIsMintedByTheServersClock(t *testing.T) {
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server.Addr())
	p, admin := firsts(t, proxy), server.Client(t)
	must(t, admin.Ping(t.Context()).Err()) // connects, which takes its time
	for i := range 10 {
		// In the slot of k, and new: what was sent again before may still arrive.
		key := fmt.Sprint("{", redisstore.TagOf("guard:k"), "}", i)
		held := proxy.HoldNextRequest(key, "nx")
		released := make(chan int64, 1)
		time.AfterFunc(60*time.Millisecond, func() {
			released <- admin.Time(t.Context()).Val().UnixMicro()
			held.Release()
		})
		r, err := p.acquire(lease.AcquireRequest{Key: key, Owner: p.NewOwner("")})
		noError(t, err)
		least := received(t, released)
		select {
		case <-held.Sprung():
		default:
			continue // the machine stood still, and the server's time was not known any more
		}
		if !r.Unanswered.IsZero() {
			continue // it was sent again before it was let go, and that try may have taken no time
		}
		if !r.Granted || r.Fence < least {
			t.Errorf("%+v, want a token of at least %d", r, least)
		}
		return
	}
	t.Error("no first try was held for a moment only")
}

// As far as replies take to arrive, which is long on a busy machine.
func TestTokensOfFirstTriesAreHardlyBelowTheServersClock(t *testing.T) {
	server := redistest.Start(t)
	p, admin := firsts(t, redistest.NewProxy(t, server.Addr())), server.Client(t)
	for range 50 {
		before := admin.Time(t.Context()).Val().UnixMicro()
		owner := p.NewOwner("")
		r, err := p.acquire(lease.AcquireRequest{Key: "k", Owner: owner})
		noError(t, err)
		if late := before - r.Fence; late > 50_000 {
			t.Fatalf("the token is %d µs behind the server's clock", late)
		}
		p.release("k", owner)
	}
}

func TestFirstTryForAKeyWithAQueueGivesItToTheHead(t *testing.T) {
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server.Addr())
	p, other := firsts(t, proxy), newProcess(t, server.Client(t))
	holder, waiter := other.NewOwner(""), other.NewOwner("")
	other.granted("k", holder)
	other.refused("k", waiter, 0)
	server.Client(t).Del(t.Context(), "guard:k") // the holder's lease ended
	newcomer := p.NewOwner("")
	p.refused("k", newcomer, 0)
	if got := other.value("guard:k"); got != waiter {
		t.Errorf("the key went to %q, want the waiter", got)
	}
}

func TestContendedKeyGetsScripts(t *testing.T) {
	server := redistest.Start(t)
	p, admin := firsts(t, redistest.NewProxy(t, server.Addr())), server.Client(t)
	holder, waiter := p.NewOwner(""), p.NewOwner("")
	p.granted("k", holder)
	p.refused("k", waiter, 0)
	p.release("k", waiter)
	p.release("k", holder)
	admin.ConfigResetStat(t.Context())
	p.granted("k", p.NewOwner(""))
	if stats := admin.Info(t.Context(), "commandstats").Val(); !strings.Contains(stats, "cmdstat_eval") {
		t.Errorf("no script for a key that others wanted just now: %s", stats)
	}
}

func TestFirstTryThatCannotMintLeavesNoLease(t *testing.T) {
	server := redistest.Start(t)
	p, admin := firsts(t, redistest.NewProxy(t, server.Addr())), server.Client(t)
	admin.Del(t.Context(), counterOfK)
	admin.LPush(t.Context(), counterOfK, "x")
	if _, err := p.try("k", p.NewOwner(""), 0); !errors.Is(err, lease.ErrRefused) {
		t.Errorf("acquire: %v, want a refusal", err)
	}
	if admin.Exists(t.Context(), "guard:k").Val() != 0 {
		t.Error("a refused acquire left a lease")
	}
}
