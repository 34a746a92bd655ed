package redisstore_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/jobguard/jobguard/guard/lease"
	"github.com/jobguard/jobguard/internal/redistest"
)

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

func TestWaiterIsInTheQueueOnce(t *testing.T) {
	p := newProcess(t, redistest.Start(t).Client(t))
	p.granted("k", p.NewOwner(""))
	w := p.NewOwner("")
	one := p.refused("k", w, 0) // says that it only polls
	_, stop := p.watching(w)
	defer stop()
	two := p.refused("k", w, 0) // says that it listens; the reply to the first was lost
	queue := p.queue("k")
	if one.Ticket != two.Ticket || p.client.ZCard(t.Context(), queue).Val() != 1 {
		t.Errorf("%+v, %+v, %v", one, two, p.client.ZRange(t.Context(), queue, 0, -1).Val())
	}
	if left := p.client.PTTL(t.Context(), queue).Val(); left < 50*time.Second {
		t.Errorf("the queue expires in %v", left)
	}
}

// A waiter that is presumed dead returns to its place, while when others were heard is kept:
// what is made anew must expire too. So must all else, whatever the order of requests.
func TestWhatWaitersLeaveExpires(t *testing.T) {
	server := redistest.Start(t)
	p := newProcess(t, server.Client(t))
	const seeds, steps = 8, 150
	for seed := range uint64(seeds) {
		rng := rand.New(rand.NewPCG(seed, 2))
		type caller struct {
			lease.AcquireRequest
			lease.AcquireReply
		}
		callers := make([]*caller, 6)
		for step := range steps {
			i := rng.IntN(len(callers))
			c := callers[i]
			if c == nil {
				c = &caller{AcquireRequest: lease.AcquireRequest{
					Key: "k", Owner: p.NewOwner(""), Limit: []lease.Limit{lease.Exclusive, lease.Exclusive, lease.Shared, 2}[rng.IntN(4)],
					TTL: time.Duration(1+rng.IntN(20)) * time.Second, Join: true, TokenCount: 1,
					Place: lease.Place{
						Reservation: time.Duration(1+rng.IntN(100)) * time.Second, // queues are kept for up to 400 s
						Poll:        time.Duration(rng.IntN(3)*20) * time.Second,
					},
				}}
				callers[i] = c
			}
			var err error
			switch what := rng.IntN(10); {
			case what < 6:
				c.AcquireReply, err = p.Acquire(within(t, 5*time.Second), c.AcquireRequest)
				c.AcquireRequest.Ticket = c.AcquireReply.Ticket
			case what < 8:
				_, err = p.Release(within(t, 5*time.Second), lease.ReleaseRequest{Key: "k", Owner: c.Owner, Limit: c.Limit, Place: c.Place})
				callers[i] = nil
			default: // as the scripts do with waiters that are presumed dead
				names := p.client.Keys(t.Context(), []string{"guard:w:*", "guard:heard:*"}[what-8]).Val()
				if len(names) > 0 {
					err = p.client.ZPopMin(t.Context(), names[0]).Err()
				}
			}
			must(t, err)
			for _, name := range p.client.Keys(t.Context(), "*").Val() {
				if left := p.client.PTTL(t.Context(), name).Val(); left == -1 && !strings.HasPrefix(name, "guard:tokens:") {
					t.Fatalf("seed %d, step %d: %s never expires", seed, step, name)
				}
			}
		}
		must(t, p.client.FlushAll(t.Context()).Err())
	}
}

// A queue that is made anew is kept for as long as one that was never empty.
func TestQueueThatWaitersReturnToIsKeptForThem(t *testing.T) {
	p := newProcess(t, redistest.Start(t).Client(t))
	p.granted("k", p.NewOwner(""))
	ask := func(owner string, ticket int64) int64 {
		t.Helper()
		r, err := p.Acquire(within(t, 5*time.Second), lease.AcquireRequest{
			Key: "k", Owner: owner, TTL: ttl, Join: true, Ticket: ticket, TokenCount: 1,
			Place: lease.Place{Reservation: 100 * time.Second, Poll: 5 * time.Second},
		})
		must(t, err)
		return r.Ticket
	}
	first, second := p.NewOwner(""), p.NewOwner("")
	ticket := ask(first, 0)
	ask(first, ticket) // keeps both for 400 s
	must(t, p.client.Del(t.Context(), p.queue("k")).Err())
	ask(second, 0) // keeps the queue for a minute
	ask(first, ticket)
	if left := p.client.PTTL(t.Context(), p.queue("k")).Val(); left < 380*time.Second {
		t.Errorf("the queue expires in %v", left)
	}
}

// Nobody knows when a waiter that is never presumed dead will ask again.
func TestWaiterThatNeverPollsKeepsItsQueueForAWholeMinuteEachTime(t *testing.T) {
	p := newProcess(t, redistest.Start(t).Client(t))
	p.granted("k", p.NewOwner(""))
	w := p.NewOwner("")
	ticket := p.refused("k", w, 0).Ticket
	must(t, p.client.PExpire(t.Context(), p.queue("k"), 40*time.Second).Err())
	p.refused("k", w, ticket)
	if left := p.client.PTTL(t.Context(), p.queue("k")).Val(); left < 50*time.Second {
		t.Errorf("the queue expires in %v", left)
	}
}

func (p *process) queue(key string) string {
	p.t.Helper()
	for _, name := range p.client.Keys(p.t.Context(), "*w:{*}:"+key).Val() {
		return name
	}
	p.t.Fatal("no queue")
	return ""
}

// crashed puts n watched waiters of another process into the queue of "k", and ends
// that process without a release.
func (p *process) crashed(n int) {
	p.t.Helper()
	other := newProcess(p.t, redis.NewClient(p.client.(*redis.Client).Options()))
	for range n {
		owner := other.NewOwner("")
		_, stop := other.watching(owner)
		p.t.Cleanup(stop)
		other.refused("k", owner, 0)
	}
	other.client.Close()
	eventually(p.t, "the inbox of the crashed process is gone", func() bool {
		return p.client.PubSubNumSub(p.t.Context(), inboxOf(other)).Val()[inboxOf(other)] == 0
	})
	time.Sleep(time.Second) // those that asked just now are presumed alive
}

func TestWaitersOfACrashedProcessAreSkipped(t *testing.T) {
	p := newProcess(t, redistest.Start(t).Client(t))
	holder := p.NewOwner("")
	p.granted("k", holder)
	p.crashed(3)
	polling, waiter := p.NewOwner(""), p.NewOwner("")
	p.refused("k", polling, 0)
	woken, stop := p.watching(waiter)
	defer stop()
	p.refused("k", waiter, 0)

	p.release("k", holder)
	if got := p.value("guard:k"); got != polling {
		t.Fatalf("granted to %q, want the waiter that only polls", got)
	}
	p.release("k", polling)
	p.awaken(woken)
	p.granted("k", waiter)
}

func TestQueueOfACrashedProcessKeepsNoKey(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"release", "acquire", "leave"} {
		t.Run(how, func(t *testing.T) {
			p := newProcess(t, redistest.Start(t).Client(t))
			holder := p.NewOwner("")
			p.granted("k", holder)
			p.crashed(1)
			if how != "release" {
				p.client.Del(t.Context(), "guard:k")
			}
			if how != "acquire" {
				p.release("k", holder)
				if got := p.value("guard:k"); got != "" {
					t.Errorf("the key is held by %q", got)
				}
			}
			p.granted("k", p.NewOwner(""))
		})
	}
}

func TestWhenWaitersWereHeardIsKeptOfThoseInTheQueueOnly(t *testing.T) {
	p := newProcess(t, redistest.Start(t).Client(t))
	holder := p.NewOwner("")
	p.granted("k", holder)
	place := lease.Place{Reservation: reservation, Poll: time.Second}
	heard := func() (n int64) {
		for _, key := range p.client.Keys(t.Context(), "guard:heard:*").Val() {
			n += p.client.ZCard(t.Context(), key).Val()
		}
		return n
	}
	owners := []string{p.NewOwner(""), p.NewOwner(""), p.NewOwner("")}
	for _, owner := range owners {
		for ticket := int64(0); ticket == 0 || heard() == 0; {
			r, err := p.Acquire(within(t, 5*time.Second), lease.AcquireRequest{
				Key: "k", Owner: owner, TTL: ttl, Join: true, Ticket: ticket, TokenCount: 1, Place: place,
			})
			must(t, err)
			ticket = r.Ticket
			time.Sleep(60 * time.Millisecond)
		}
	}
	if _, err := p.Release(within(t, time.Second), lease.ReleaseRequest{Key: "k", Owner: owners[1], Place: place}); err != nil {
		t.Fatal(err)
	}
	p.release("k", holder)
	p.release("k", owners[0])
	if p.value("guard:k") != owners[2] || heard() != 0 {
		t.Errorf("held by %q, heard %d", p.value("guard:k"), heard())
	}
}

func TestQueueLivesAsLongAsAWaiterAsks(t *testing.T) {
	p := newProcess(t, redistest.Start(t).Client(t))
	p.granted("k", p.NewOwner(""))
	ask := func(ticket int64) lease.AcquireReply {
		r, err := p.Acquire(within(t, 5*time.Second), lease.AcquireRequest{
			Key: "k", Owner: "waiter", TTL: ttl, Join: true, Ticket: ticket, TokenCount: 1,
			Place: lease.Place{Reservation: reservation, Poll: 5 * time.Second},
		})
		must(t, err)
		return r
	}
	ticket := ask(0).Ticket
	ask(ticket) // is noted as heard
	queue := p.queue("k")
	for _, name := range append(p.client.Keys(t.Context(), "guard:heard:*").Val(), queue) {
		p.client.PExpire(t.Context(), name, 20*time.Second)
	}
	ask(ticket)
	for _, name := range append(p.client.Keys(t.Context(), "guard:heard:*").Val(), queue) {
		if left := p.client.PTTL(t.Context(), name).Val(); left < 50*time.Second {
			t.Errorf("%s expires in %v though its waiter asks", name, left)
		}
	}
}

func TestAtMostAThousandAreDroppedByOneCall(t *testing.T) {
	server := redistest.Start(t)
	p := newProcess(t, server.Client(t))
	holder := p.NewOwner("")
	p.granted("k", holder)
	p.refused("k", p.NewOwner(""), 0)
	queue := p.queue("k")
	p.client.Del(t.Context(), queue)
	for i := range 1500 {
		p.client.ZAdd(t.Context(), queue, redis.Z{Score: float64(2 * i), Member: fmt.Sprintf("500,1,0;gone:%d||", i)})
	}
	p.client.ZAdd(t.Context(), queue, redis.Z{Score: 0, Member: "of another form"})
	p.release("k", holder)
	if n := p.client.ZCard(t.Context(), queue).Val(); n != 500 {
		t.Errorf("%d left of 1500", n)
	}
	if got := p.value("guard:k"); got != "gone:999||" {
		t.Errorf("held by %q", got)
	}
}

func TestLeavingHandsOnAFreeKey(t *testing.T) {
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
