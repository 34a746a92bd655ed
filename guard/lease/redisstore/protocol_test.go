package redisstore_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/jobguard/jobguard/guard/lease"
	"github.com/jobguard/jobguard/guard/lease/redisstore"
	"github.com/jobguard/jobguard/internal/redistest"
)

func TestForeignLocksExcludeAndAreExcluded(t *testing.T) {
	client := redistest.Start(t).Client(t)
	p := newProcess(t, client, redisstore.Prefix(""))
	ctx := t.Context()

	client.SetNX(ctx, "orders", "another program", time.Minute)
	r := p.refused("orders", p.NewOwner(""), 0)
	if r.Holder != "another program" || r.Remaining <= 59*time.Second || r.Remaining > time.Minute {
		t.Errorf("%+v", r)
	}
	client.Set(ctx, "forever", "another program", 0)
	if r := p.refused("forever", p.NewOwner(""), 0); r.Remaining >= 0 {
		t.Errorf("a lock without a TTL has %v left", r.Remaining)
	}

	owner := p.NewOwner("")
	p.granted("invoices", owner)
	if ok := client.SetNX(ctx, "invoices", "another program", time.Minute).Val(); ok {
		t.Error("SET NX took a held key")
	}
	if got := p.value("invoices"); got != owner {
		t.Errorf("the lease holds %q", got)
	}
	if left := client.PTTL(ctx, "invoices").Val(); left <= ttl-time.Second || left > ttl {
		t.Errorf("PTTL %v", left)
	}
}

func TestOwnerIsRecognisedWhenItAsksAgain(t *testing.T) {
	p := newProcess(t, redistest.Start(t).Client(t))
	owner := p.NewOwner("")
	first := p.granted("k", owner)
	p.client.PExpire(t.Context(), "guard:k", time.Second)
	again := p.granted("k", owner)
	if again.Fence <= first.Fence {
		t.Errorf("fence %d after %d", again.Fence, first.Fence)
	}
	if left := p.client.PTTL(t.Context(), "guard:k").Val(); left < ttl-time.Second {
		t.Errorf("the TTL was not refreshed: %v", left)
	}
}

func TestNobodyOvertakesTheLine(t *testing.T) {
	p := newProcess(t, redistest.Start(t).Client(t))
	holder, waiter, late := p.NewOwner(""), p.NewOwner(""), p.NewOwner("")
	p.granted("k", holder)
	if r := p.refused("k", waiter, 0); !r.Head || r.Ticket == 0 {
		t.Errorf("%+v", r)
	}
	p.client.Del(t.Context(), "guard:k") // free, with somebody in line
	r := p.refused("k", late, 0)
	if r.Holder != waiter || r.Remaining <= 0 || r.Remaining > reservation {
		t.Errorf("the head was not granted the key for its reservation: %+v", r)
	}
	p.granted("k", waiter)
	if n := p.client.Exists(t.Context(), "guard:k").Val(); n != 1 {
		t.Error("no lease")
	}
}

func TestHeadThatTakesAFreeKeyLeavesTheLine(t *testing.T) {
	p := newProcess(t, redistest.Start(t).Client(t))
	p.granted("k", p.NewOwner(""))
	head := p.NewOwner("")
	p.refused("k", head, 0)
	queue := p.line("k")
	p.client.Del(t.Context(), "guard:k")
	p.granted("k", head)
	if n := p.client.Exists(t.Context(), queue).Val(); n != 0 {
		t.Error("the holder still stands in line")
	}
}

func TestLineIsServedInOrderOfArrivalAcrossProcesses(t *testing.T) {
	server := redistest.Start(t)
	a, b := newProcess(t, server.Client(t)), newProcess(t, server.Client(t))
	holder := a.NewOwner("")
	a.granted("k", holder)
	var line []string
	for i := range 10 {
		p := []*process{a, b}[i%2]
		line = append(line, p.NewOwner(strconv.Itoa(i)))
		p.refused("k", line[i], 0)
	}
	for _, next := range line {
		a.release("k", holder)
		if got := a.value("guard:k"); got != next {
			t.Fatalf("granted to %q, not %q", got, next)
		}
		a.granted("k", next)
		holder = next
	}
	a.release("k", holder)
	if n := a.client.DBSize(t.Context()).Val(); n != 1 {
		t.Errorf("%d keys left, want the fence counter alone", n)
	}
}

func TestLapsedGrantReturnsToItsOldPlace(t *testing.T) {
	p := newProcess(t, redistest.Start(t).Client(t))
	holder, first, second := p.NewOwner(""), p.NewOwner(""), p.NewOwner("")
	p.granted("k", holder)
	ticket := p.refused("k", first, 0).Ticket
	p.refused("k", second, 0)
	p.release("k", holder)
	p.client.Set(t.Context(), "guard:k", holder, ttl) // first's reservation lapsed, somebody else came
	if r := p.refused("k", first, ticket); !r.Head || r.Ticket != ticket {
		t.Errorf("%+v", r)
	}
}

func TestTicketsRiseWhenTheClockStepsBack(t *testing.T) {
	p := newProcess(t, redistest.Start(t).Client(t))
	p.granted("k", p.NewOwner(""))
	const future = 4e15 // as after a step back by decades
	early := p.NewOwner("")
	p.refused("k", early, int64(future))
	if r := p.refused("k", p.NewOwner(""), 0); r.Ticket != int64(future)+1 || r.Head {
		t.Errorf("%+v", r)
	}
}

func TestWaiterStandsInLineOnce(t *testing.T) {
	p := newProcess(t, redistest.Start(t).Client(t))
	p.granted("k", p.NewOwner(""))
	w := p.NewOwner("")
	one := p.refused("k", w, 0) // says that it only polls
	_, stop := p.watching(w)
	defer stop()
	two := p.refused("k", w, 0) // says that it listens; the reply to the first was lost
	queue := p.line("k")
	if one.Ticket != two.Ticket || p.client.ZCard(t.Context(), queue).Val() != 1 {
		t.Errorf("%+v, %+v, %v", one, two, p.client.ZRange(t.Context(), queue, 0, -1).Val())
	}
	if left := p.client.PTTL(t.Context(), queue).Val(); left < 59*time.Second {
		t.Errorf("the line vanishes in %v", left)
	}
	p.release("k", w)
	if n := p.client.Exists(t.Context(), queue).Val(); n != 0 {
		t.Error("it did not leave")
	}
}

func (p *process) line(key string) string {
	p.t.Helper()
	for _, name := range p.client.Keys(p.t.Context(), "*q:{*}:"+key).Val() {
		return name
	}
	p.t.Fatal("nobody in line")
	return ""
}

func TestDeadWaitersArePassedOver(t *testing.T) {
	server := redistest.Start(t)
	dead, alive := newProcess(t, server.Client(t)), newProcess(t, server.Client(t))
	holder := alive.NewOwner("")
	alive.granted("k", holder)
	for range 3 {
		gone := dead.NewOwner("")
		_, stop := dead.watching(gone)
		t.Cleanup(stop)
		dead.refused("k", gone, 0)
	}
	polling, waiter := alive.NewOwner(""), alive.NewOwner("")
	alive.refused("k", polling, 0)
	woken, stop := alive.watching(waiter)
	defer stop()
	alive.refused("k", waiter, 0)
	dead.client.Close() // the whole process
	eventually(t, "one inbox is left", func() bool {
		return len(alive.client.PubSubChannels(t.Context(), "*").Val()) == 1
	})

	alive.release("k", holder)
	if got := alive.value("guard:k"); got != polling {
		t.Fatalf("granted to %q: who only polls is not dead", got)
	}
	alive.release("k", polling)
	alive.awaken(woken)
	alive.granted("k", waiter)
}

func TestLineOfTheDeadAlone(t *testing.T) {
	for _, how := range []string{"release", "acquire", "leave"} {
		t.Run(how, func(t *testing.T) {
			server := redistest.Start(t)
			dead, alive := newProcess(t, server.Client(t)), newProcess(t, server.Client(t))
			holder := alive.NewOwner("")
			alive.granted("k", holder)
			gone := dead.NewOwner("")
			_, stop := dead.watching(gone)
			defer stop()
			dead.refused("k", gone, 0)
			dead.client.Close()
			eventually(t, "no inbox is left", func() bool {
				return len(alive.client.PubSubChannels(t.Context(), "*").Val()) == 0
			})
			if how != "acquire" {
				if how == "leave" {
					alive.client.Del(t.Context(), "guard:k")
				}
				alive.release("k", holder)
				if n := alive.client.Exists(t.Context(), "guard:k").Val(); n != 0 {
					t.Errorf("the key is held by %q", alive.value("guard:k"))
				}
			} else {
				alive.client.Del(t.Context(), "guard:k")
			}
			alive.granted("k", alive.NewOwner(""))
		})
	}
}

func TestPassingOverTheDeadIsBounded(t *testing.T) {
	server := redistest.Start(t)
	p := newProcess(t, server.Client(t))
	holder := p.NewOwner("")
	p.granted("k", holder)
	p.refused("k", p.NewOwner(""), 0)
	queue := p.line("k")
	p.client.Del(t.Context(), queue)
	for i := range 40 {
		p.client.ZAdd(t.Context(), queue, redis.Z{Score: float64(2*i + 1), Member: fmt.Sprintf("500,0;dead:%d||", i)})
	}
	p.release("k", holder)
	if n := p.client.ZCard(t.Context(), queue).Val(); n != 24 {
		t.Errorf("%d left of 40", n)
	}
	if got := p.value("guard:k"); got != "dead:15||" {
		t.Errorf("held by %q", got)
	}
}

func TestLeavingHandsAFreeKeyOn(t *testing.T) {
	p := newProcess(t, redistest.Start(t).Client(t))
	p.granted("k", p.NewOwner(""))
	first, second := p.NewOwner(""), p.NewOwner("")
	p.refused("k", first, 0)
	p.refused("k", second, 0)
	p.client.Del(t.Context(), "guard:k")
	if p.release("k", first) {
		t.Error("it held nothing")
	}
	if got := p.value("guard:k"); got != second {
		t.Errorf("held by %q", got)
	}
}

func TestClosedKeyIsNotGranted(t *testing.T) {
	p := newProcess(t, redistest.Start(t).Client(t), redisstore.Owner("me"))
	holder, waiter := p.NewOwner("trace"), p.NewOwner("")
	p.granted("k", holder)
	p.refused("k", waiter, 0)
	r, err := p.Release(within(t, time.Second), lease.ReleaseRequest{Key: "k", Owner: holder, Reservation: reservation, KeepClosed: 300 * time.Millisecond})
	if err != nil || !r.Released {
		t.Fatal(r, err)
	}
	reply := p.refused("k", waiter, 0)
	if reply.Holder != lease.ClosedMarker(holder) || reply.Remaining > 300*time.Millisecond {
		t.Errorf("%+v", reply)
	}
	time.Sleep(310 * time.Millisecond)
	p.granted("k", waiter)
}

func TestFencesRise(t *testing.T) {
	server := redistest.Start(t)
	p := newProcess(t, server.Client(t, func(o *redis.Options) { o.MaxRetries = 3 }))
	ctx := t.Context()
	var last int64
	for name, disturb := range map[string]func(){
		"release":  func() {},
		"del":      func() { p.client.Del(ctx, "guard:k") },
		"expiry":   func() { p.client.PExpire(ctx, "guard:k", time.Millisecond); time.Sleep(5 * time.Millisecond) },
		"flushall": func() { p.client.FlushAll(ctx) },
		"restart":  server.Restart,
	} {
		for range 2 {
			owner := p.NewOwner("")
			var r lease.AcquireReply
			eventually(t, "granted after "+name, func() bool {
				var err error
				r, err = p.try("k", owner, 0)
				return err == nil && r.Granted
			})
			if r.Fence <= last {
				t.Errorf("%s: fence %d after %d", name, r.Fence, last)
			}
			last = r.Fence
			disturb()
			p.release("k", owner)
		}
	}
}

func TestFenceRangeIsReservedAtMost10msAhead(t *testing.T) {
	p := newProcess(t, redistest.Start(t).Client(t))
	owner := p.NewOwner("")
	ask := func(n int) lease.AcquireReply {
		r, err := p.Acquire(within(t, time.Second), lease.AcquireRequest{Key: "k", Owner: owner, TTL: ttl, TokenCount: n})
		if err != nil || !r.Granted {
			t.Fatal(r, err)
		}
		return r
	}
	one := ask(1)
	if stored := p.counter(); stored != strconv.FormatInt(one.Fence, 10) {
		t.Errorf("the counter is written as %q", stored)
	}
	five := ask(5)
	if five.TokenCount != 5 || five.Fence <= one.Fence {
		t.Errorf("%+v after %+v", five, one)
	}
	now := time.Now().UnixMicro()
	many := ask(1 << 40)
	if last := many.Fence + int64(many.TokenCount) - 1; last > time.Now().UnixMicro()+10_000 || last < now+9_000 || many.Fence < five.Fence+5 {
		t.Errorf("%+v, %d ahead", many, last-now)
	}
	if stored := p.counter(); strings.ContainsAny(stored, "e.") || len(stored) != 16 {
		t.Errorf("the counter is written as %q", stored)
	}
	// A counter far ahead of the clock still moves, by one.
	p.client.Set(t.Context(), p.counterName(), "4000000000000000", 0)
	if r := ask(100); r.Fence != 4000000000000001 || r.TokenCount != 1 {
		t.Errorf("%+v", r)
	}
}

func (p *process) counterName() string {
	return p.client.Keys(p.t.Context(), "guard:fence:*").Val()[0]
}
func (p *process) counter() string { return p.value(p.counterName()) }

func TestRenewNeverCreatesNorTouchesAStrangersLease(t *testing.T) {
	p := newProcess(t, redistest.Start(t).Client(t))
	owner, other := p.NewOwner(""), p.NewOwner("")
	if r := p.renew("k", owner); r.Held || r.Holder != "" || r.Err != nil {
		t.Errorf("free: %+v", r)
	}
	p.granted("k", other)
	p.client.PExpire(t.Context(), "guard:k", time.Second)
	if r := p.renew("k", owner); r.Held || r.Holder != other || r.Err != nil {
		t.Errorf("a stranger's: %+v", r)
	}
	if left := p.client.PTTL(t.Context(), "guard:k").Val(); left > time.Second {
		t.Errorf("a stranger's lease was extended to %v", left)
	}
	if r := p.renew("k", other); !r.Held || r.Err != nil {
		t.Errorf("own: %+v", r)
	}
	if left := p.client.PTTL(t.Context(), "guard:k").Val(); left < ttl-time.Second {
		t.Errorf("own lease has %v", left)
	}
}

func TestUserKeyThatLooksLikeACompanionIsJustAKey(t *testing.T) {
	p := newProcess(t, redistest.Start(t).Client(t))
	p.granted("k", p.NewOwner(""))
	p.refused("k", p.NewOwner(""), 0)
	for _, key := range []string{strings.TrimPrefix(p.line("k"), "guard:"), strings.TrimPrefix(p.counterName(), "guard:")} {
		owner := p.NewOwner("")
		p.granted(key, owner)
		waiter := p.NewOwner("")
		p.refused(key, waiter, 0)
		p.release(key, owner)
		p.granted(key, waiter)
		p.release(key, waiter)
	}
}
