package redisstore_test

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/jobguard/jobguard/guard/lease"
	"github.com/jobguard/jobguard/guard/lease/redisstore"
	"github.com/jobguard/jobguard/internal/redistest"
)

func TestOneSubscriptionPerProcessEndsAfterTheLastWatch(t *testing.T) {
	server := redistest.Start(t)
	p := newProcess(t, server.Client(t))
	admin := server.Client(t)
	before := goleak.IgnoreCurrent()
	inboxes := func() []string { return admin.PubSubChannels(t.Context(), "guard:inbox:*").Val() }
	owner := p.NewOwner("")
	stop := p.Watch(owner, ignore)
	p.granted("uncontended", owner)
	stop()
	if got := inboxes(); len(got) != 0 {
		t.Errorf("before an owner has to wait: %v", got)
	}
	const linger = 250 * time.Millisecond
	for left := 5; ; left-- {
		p.subscribed = false
		var stops []func()
		for range 5 {
			_, stop := p.watching(p.NewOwner(""))
			stops = append(stops, stop)
		}
		channel := inboxOf(p)
		if got := admin.PubSubNumSub(t.Context(), channel).Val()[channel]; got != 1 {
			t.Errorf("%d subscriptions", got)
		}
		began := time.Now()
		for _, stop := range stops {
			stop()
			stop() // harmless
		}
		time.Sleep(100 * time.Millisecond)
		lingering := len(inboxes())
		stopped := p.Watch(p.NewOwner(""), ignore)
		late := time.Since(began) > linger // a stall of the machine: try again
		time.Sleep(linger + 50*time.Millisecond)
		if !late && lingering != 1 {
			t.Error("the subscription ended with the last watch")
		}
		if !late && len(inboxes()) != 1 {
			t.Error("a new watch did not keep the subscription")
		}
		stopped()
		eventually(t, "the subscription ends", func() bool { return len(inboxes()) == 0 })
		if !late {
			break
		}
		if left == 1 {
			t.Fatal("no new watch came before the subscription ended")
		}
	}
	goleak.VerifyNone(t, before)
	_, stop = newProcess(t, server.Client(t)).watching("x")
	stop()
}

func TestGrantToAnOwnerWithoutAWatchIsReleased(t *testing.T) {
	p := newProcess(t, redistest.Start(t).Client(t))
	holder, gone := p.NewOwner(""), p.NewOwner("")
	p.granted("k", holder)
	_, stopOther := p.watching(p.NewOwner("")) // the inbox listens
	defer stopOther()
	_, stop := p.watching(gone)
	request := lease.AcquireRequest{Key: "k", Owner: gone, Join: true, Place: lease.Place{Reservation: 2 * waitLimit}}
	if r, err := p.acquire(request); err != nil || r.Granted {
		t.Fatalf("Acquire() = %+v, %v; want refused", r, err)
	}
	stop() // its release never arrives
	p.release("k", holder)
	eventually(t, "the key is free", func() bool { return p.value("guard:k") == "" }) // long before the reservation ends
}

// A run that begins on its wake-up may be released before its watch ends.
func TestInboxKeepsNothingOfAnOwnerThatIsReleasedBeforeItsWatchEnds(t *testing.T) {
	p := newProcess(t, redistest.Start(t).Client(t))
	holder, next := p.NewOwner(""), p.NewOwner("")
	p.granted("k", holder)
	_, stop := p.watching(next)
	p.refused("k", next, 0)
	p.release("k", holder)
	p.release("k", next)
	if n := redisstore.InboxOwners(p.Store); n != 1 {
		t.Errorf("%d owners while one is watched", n)
	}
	stop()
	if n := redisstore.InboxOwners(p.Store); n != 0 {
		t.Errorf("%d owners after the watch", n)
	}

	_, stop = p.watching(next) // it is another owner's turn, and it comes back
	p.granted("k", holder)
	p.refused("k", next, 0)
	p.release("k", next)
	p.refused("k", next, 0)
	stop()
	if n := redisstore.InboxOwners(p.Store); n != 1 {
		t.Errorf("%d owners while one may be in the queue", n)
	}
}

// The message says by what limit, and under which place in the queue.
func TestUnwantedGrantIsReleasedWhateverThePlace(t *testing.T) {
	for name, r := range map[string]lease.AcquireRequest{
		"exclusive":    {},
		"many tokens":  {Place: lease.Place{GrantTokens: 500}},
		"shared":       {Limit: lease.Shared},
		"with a limit": {Limit: 3},
	} {
		t.Run(name, func(t *testing.T) {
			p := newProcess(t, redistest.Start(t).Client(t))
			holder, gone := p.NewOwner(""), p.NewOwner("")
			p.granted("k", holder)
			_, stopOther := p.watching(p.NewOwner("")) // the inbox listens
			defer stopOther()
			_, stop := p.watching(gone)
			r.Key, r.Owner, r.TTL, r.Join, r.TokenCount, r.Reservation = "k", gone, time.Minute, true, 1, time.Minute
			if reply, err := p.Acquire(within(t, waitLimit), r); err != nil || reply.Granted {
				t.Fatalf("Acquire() = %+v, %v; want refused", reply, err)
			}
			stop() // its release never arrives
			p.release("k", holder)
			eventually(t, "the key is free", func() bool { return p.value("guard:k") == "" })
		})
	}
}

func TestGrantToAnOwnerThatIsTakenIsNotReleased(t *testing.T) {
	p := newProcess(t, redistest.Start(t).Client(t))
	holder, owner := p.NewOwner(""), p.NewOwner("")
	p.granted("k", holder)
	_, stopOther := p.watching(p.NewOwner("")) // the inbox listens
	defer stopOther()
	_, stop := p.watching(owner)
	p.refused("k", owner, 0)
	p.Taken(owner)
	p.refused("k", owner, 0) // was under way
	stop()
	p.release("k", holder)
	for range 10 {
		if time.Sleep(20 * time.Millisecond); p.value("guard:k") != owner {
			t.Fatalf("the key's value is %q", p.value("guard:k"))
		}
	}
	p.release("k", owner)
	if n := redisstore.InboxOwners(p.Store); n != 1 {
		t.Errorf("%d owners after the release, one is watched", n)
	}
}

func TestLateWakeUpReleasesNoLeaseInUse(t *testing.T) {
	server := redistest.Start(t)
	p := newProcess(t, server.Client(t))
	_, stopOther := p.watching(p.NewOwner(""))
	defer stopOther()
	holder, owner := p.NewOwner(""), p.NewOwner("")
	p.granted("k", holder)
	_, stop := p.watching(owner)
	p.refused("k", owner, 0)
	p.release("k", holder)
	p.granted("k", owner) // by its own poll
	stop()
	admin := server.Client(t)
	channel := inboxOf(p)
	if n := admin.Publish(t.Context(), channel, wakeUp(owner, "9000000000000000", "1")).Val(); n != 1 {
		t.Fatalf("%d receivers", n)
	}
	for _, nonsense := range []string{"nonsense", "", "\n", "\nx", owner + "\n1\n1\nguard:k", ";" + owner + "\nguard:k", wakeUp(owner, "soon", "1"), wakeUp(owner, "1", ""), wakeUp(owner, "1", "1+"), wakeUp(owner, "1", "1+0"), wakeUp("", "1", "1")} {
		admin.Publish(t.Context(), channel, nonsense)
	}
	time.Sleep(100 * time.Millisecond)
	if p.value("guard:k") != owner {
		t.Error("the lease was released")
	}
}

// wakeUp is a message as queue.lua writes it, about key "k".
func wakeUp(owner, granted, token string) string {
	return "2000,0,0;" + owner + "\n" + granted + "\n" + token + "\nguard:k"
}

// grantsOf has owner watched and waiting for "k", and returns the grants in its
// wake-ups.
func (p *process) grantsOf(owner string) <-chan lease.Grant {
	p.t.Helper()
	_, stopOther := p.watching(p.NewOwner("")) // the inbox listens
	p.t.Cleanup(stopOther)
	grants := make(chan lease.Grant, 100)
	p.t.Cleanup(p.Watch(owner, func(g lease.Grant) bool { grants <- g; return false }))
	p.refused("k", owner, 0)
	return grants
}

func TestWakeUpCarriesTheTokenOfTheGrant(t *testing.T) {
	server := redistest.Start(t)
	p := newProcess(t, server.Client(t))
	holder, waiter := p.NewOwner(""), p.NewOwner("")
	first := p.granted("k", holder)
	asked := time.Now()
	grants := p.grantsOf(waiter)
	poll := time.Since(asked)
	time.Sleep(poll + 300*time.Millisecond)
	before := time.Now()
	p.release("k", holder)
	g := received(t, grants)
	if g.Fence <= first.Fence {
		t.Errorf("token %d after %d", g.Fence, first.Fence)
	}
	// It is counted from when the poll was sent, which is early by what that took at most.
	if g.Since.Before(before.Add(-poll-50*time.Millisecond)) || g.Since.After(time.Now()) {
		t.Errorf("since %v before the wake-up, granted after %v", time.Since(g.Since), time.Since(before))
	}
	if next := p.granted("k", waiter); next.Fence <= g.Fence {
		t.Errorf("token %d after %d", next.Fence, g.Fence)
	}
}

// A place that asks for more tokens gets them with the grant, whichever script makes it: a
// release, or an acquire that finds the holder's lease ended.
func TestGrantHasAsManyTokensAsThePlaceAsksFor(t *testing.T) {
	server := redistest.Start(t)
	for name, free := range map[string]func(p *process, holder string){
		"release": func(p *process, holder string) { p.release("k", holder) },
		"acquire": func(p *process, _ string) {
			p.client.Del(t.Context(), "guard:k")
			_, _ = p.try("k", p.NewOwner(""), 0)
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := newProcess(t, server.Client(t)) // of its own: watching waits for the inbox once, and an idle one ends after 250 ms
			holder, waiter := p.NewOwner(""), p.NewOwner("")
			first := p.granted("k", holder)
			place := lease.Place{Reservation: reservation, GrantTokens: 50_000}
			_, stopOther := p.watching(p.NewOwner(""))
			defer stopOther()
			grants := make(chan lease.Grant, 100)
			defer p.Watch(waiter, func(g lease.Grant) bool { grants <- g; return g.Fence != 0 })()
			r := lease.AcquireRequest{Key: "k", Owner: waiter, Join: true, Place: place}
			if reply, err := p.acquire(r); err != nil || reply.Granted {
				t.Fatalf("Acquire() = %+v, %v; want refused", reply, err)
			}
			free(p, holder)
			g := received(t, grants)
			if g.Fence <= first.Fence || g.TokenCount < 2 || g.TokenCount > 10_001 {
				t.Errorf("tokens from %d, %d of them, after %d; want 2 to 10 001", g.Fence, g.TokenCount, first.Fence)
			}
			next, err := p.acquire(r)
			if err != nil || next.Fence < g.Fence+int64(g.TokenCount) {
				t.Errorf("the next token is %d, %v; want at least %d", next.Fence, err, g.Fence+int64(g.TokenCount))
			}
			if ahead := g.Fence + int64(g.TokenCount) - p.client.Time(t.Context()).Val().UnixMicro(); ahead > 10_001 {
				t.Errorf("the tokens are %d µs ahead of the server's clock", ahead)
			}
			_, err = p.Release(t.Context(), lease.ReleaseRequest{Key: "k", Owner: waiter, Place: place})
			if err != nil || p.value("guard:k") == waiter {
				t.Errorf("Release() = %v; the key's value is %q", err, p.value("guard:k"))
			}
			p.client.FlushAll(t.Context())
		})
	}
}

// The inbox releases grants without a watch when it reconnects; a lease taken on the
// wake-up is not one.
func TestReconnectedInboxReleasesNoLeaseTakenOnAWakeUp(t *testing.T) {
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server.Addr())
	p := newProcess(t, dial(t, proxy))
	other, stopOther := p.watching(p.NewOwner(""))
	defer stopOther()
	holder, waiter := p.NewOwner(""), p.NewOwner("")
	p.granted("k", holder)
	taken := make(chan bool, 1)
	stop := p.Watch(waiter, func(g lease.Grant) bool { taken <- g.Fence != 0; return true })
	p.refused("k", waiter, 0)
	p.release("k", holder)
	if !received(t, taken) {
		t.Fatal("the wake-up has no token")
	}
	stop()
	proxy.Cut()
	time.Sleep(50 * time.Millisecond)
	proxy.Heal()
	p.awaken(other)
	time.Sleep(100 * time.Millisecond)
	if !p.renew("k", waiter).Held {
		t.Error("the lease of a run was released")
	}
}

func TestWakeUpThatTheClocksContradictSaysNothing(t *testing.T) {
	server := redistest.Start(t)
	p := newProcess(t, server.Client(t))
	holder, waiter := p.NewOwner(""), p.NewOwner("")
	p.granted("k", holder)
	earlier := server.Client(t).Time(t.Context()).Val().UnixMicro()
	grants := p.grantsOf(waiter)
	for when, granted := range map[string]int64{"before the last answer": earlier, "in a minute": earlier + 60e6} {
		server.Client(t).Publish(t.Context(), inboxOf(p), wakeUp(waiter, fmt.Sprint(granted), "1"))
		if g := received(t, grants); g != (lease.Grant{}) {
			t.Errorf("a message of a grant %s gave %+v", when, g)
		}
	}
}

// The release that made the grant did not wait for replicas: the waiter has to ask.
func TestWithReplicaAckAWakeUpCarriesNoGrant(t *testing.T) {
	primary := redistest.Start(t)
	redistest.StartReplica(t, primary)
	p := newProcess(t, primary.Client(t), redisstore.ReplicaAck(1, 5*time.Second))
	holder, waiter := p.NewOwner(""), p.NewOwner("")
	p.granted("k", holder)
	grants := p.grantsOf(waiter)
	p.release("k", holder)
	if g := received(t, grants); g != (lease.Grant{}) {
		t.Errorf("the wake-up carries %+v", g)
	}
	p.granted("k", waiter)
}

func TestReconnectedInboxWakesAllWatchedOwners(t *testing.T) {
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server.Addr())
	p := newProcess(t, dial(t, proxy))
	one, stopOne := p.watching(p.NewOwner(""))
	defer stopOne()
	two, stopTwo := p.watching(p.NewOwner(""))
	defer stopTwo()
	proxy.Cut()
	time.Sleep(50 * time.Millisecond)
	proxy.Heal()
	p.awaken(one)
	p.awaken(two)
}

func TestInboxGivesUpAConnectionThatHangs(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server.Addr())
	p := newProcess(t, dial(t, proxy))
	woken, stop := p.watching(p.NewOwner(""))
	defer stop()
	admin := server.Client(t)
	channel := inboxOf(p)
	subscribed := func() bool { return admin.PubSubNumSub(t.Context(), channel).Val()[channel] > 0 }
	time.Sleep(2500 * time.Millisecond)
	if !subscribed() {
		t.Error("an idle connection that answers PING was given up")
	}
	proxy.Blackhole(redistest.ToClient)
	eventually(t, "the connection is given up", func() bool { return !subscribed() })
	proxy.Heal()
	p.awaken(woken)
}

// After a planned failover commands go to the new primary while the subscription stays
// open at the old one, where messages may go on to arrive: they are replicated.
func TestSubscriptionFollowsTheCommandsToAnotherServer(t *testing.T) {
	t.Parallel()
	servers := redistest.StartN(t, 2)
	admins := [2]*redis.Client{servers[0].Client(t), servers[1].Client(t)}
	for _, admin := range admins {
		must(t, admin.Set(t.Context(), "guard:k", "holder", 0).Err())
	}
	var now atomic.Int32
	client := redis.NewClient(&redis.Options{Addr: "redis:6379", Dialer: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, servers[now.Load()].Addr())
	}})
	t.Cleanup(func() { _ = client.Close() })
	p := newProcess(t, client)
	owner := p.NewOwner("")
	defer p.Watch(owner, ignore)()
	publish, stop := context.WithCancel(t.Context())
	var publishers sync.WaitGroup
	for i := range 6 {
		admin := admins[i%2]
		publishers.Go(func() {
			for publish.Err() == nil {
				admin.Publish(publish, inboxOf(p), "of a later version")
			}
		})
	}
	defer publishers.Wait()
	defer stop()
	for range 10 {
		at := now.Load()
		began := time.Now()
		eventually(t, "the subscription is where the commands go", func() bool {
			p.refused("k", owner, 0)
			return admins[at].PubSubNumSub(t.Context(), inboxOf(p)).Val()[inboxOf(p)] == 1
		})
		if took := time.Since(began); took > 5*time.Second {
			t.Fatalf("after %v", took)
		}
		now.Store(1 - at)
		must(t, admins[at].ClientKillByFilter(t.Context(), "type", "normal", "skipme", "yes").Err())
	}
}

func TestWithoutChannelPermissionWaitersPoll(t *testing.T) {
	server := redistest.Start(t)
	admin := server.Client(t)
	admin.ACLSetUser(t.Context(), "deaf", "on", ">pw", "+@all", "~*", "resetchannels")
	p := newProcess(t, server.Client(t, as("deaf", "pw")))
	holder, waiter := p.NewOwner(""), p.NewOwner("")
	defer p.Watch(waiter, ignore)()
	p.granted("k", holder)
	p.refused("k", waiter, 0)
	subscribes := func() string { // what the server counts, once there is one
		for line := range strings.Lines(admin.Info(t.Context(), "commandstats").Val()) {
			if strings.HasPrefix(line, "cmdstat_subscribe:") {
				return line
			}
		}
		return ""
	}
	eventually(t, "the subscription is refused", func() bool { return strings.Contains(subscribes(), "rejected_calls=1,") })
	admin.ConfigResetStat(t.Context())
	p.release("k", holder) // cannot publish either
	p.granted("k", waiter)
	time.Sleep(500 * time.Millisecond)
	if again := subscribes(); again != "" {
		t.Errorf("subscribed again at once: %s", again)
	}
}
