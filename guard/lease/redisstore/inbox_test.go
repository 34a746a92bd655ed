package redisstore_test

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/jobguard/jobguard/guard/lease"
	"github.com/jobguard/jobguard/guard/lease/redisstore"
	"github.com/jobguard/jobguard/internal/redistest"
)

func TestOneSubscriptionAProcessWhichEndsAfterTheLastWatch(t *testing.T) {
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
		t.Errorf("before anybody has to wait: %v", got)
	}
	var stops []func()
	for range 5 {
		_, stop := p.watching(p.NewOwner(""))
		stops = append(stops, stop)
	}
	channel := "guard:inbox:" + lease.OwnerProcess(p.NewOwner(""))
	if got := admin.PubSubNumSub(t.Context(), channel).Val()[channel]; got != 1 {
		t.Errorf("%d subscriptions", got)
	}
	for _, stop := range stops {
		stop()
		stop() // harmless
	}
	time.Sleep(100 * time.Millisecond)
	if len(inboxes()) != 1 {
		t.Error("the subscription did not outlive the last watch for a moment")
	}
	stopped := p.Watch(p.NewOwner(""), ignore) // within that moment: goes on
	time.Sleep(300 * time.Millisecond)
	if len(inboxes()) != 1 {
		t.Error("a new watch did not keep the subscription")
	}
	stopped()
	eventually(t, "the subscription ends", func() bool { return len(inboxes()) == 0 })
	goleak.VerifyNone(t, before)
	_, stop = newProcess(t, server.Client(t)).watching("x")
	stop()
}

func TestGrantThatNobodyWantsIsReleased(t *testing.T) {
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server.Addr())
	p := newProcess(t, dial(t, proxy))
	rival := newProcess(t, server.Client(t))
	holder := rival.NewOwner("")
	rival.granted("k", holder)
	_, stopOther := p.watching(p.NewOwner(""))
	defer stopOther()
	gone := p.NewOwner("")
	_, stop := p.watching(gone)
	p.refused("k", gone, 0)
	proxy.LoseNextRequest("guard:k") // its leaving never arrives
	if _, err := p.Release(within(t, time.Second), lease.ReleaseRequest{Key: "k", Owner: gone, Reservation: reservation}); err == nil {
		t.Fatal("the release was not lost")
	}
	stop()
	rival.release("k", holder)
	began := time.Now()
	eventually(t, "the key is free", func() bool { return rival.value("guard:k") == "" })
	if took := time.Since(began); took > reservation/2 {
		t.Errorf("it cost %v", took)
	}
}

func TestLateWakeUpDoesNotReleaseALeaseInUse(t *testing.T) {
	server := redistest.Start(t)
	p := newProcess(t, server.Client(t))
	_, stopOther := p.watching(p.NewOwner(""))
	defer stopOther()
	owner := p.NewOwner("")
	_, stop := p.watching(owner)
	p.granted("k", owner) // by its own poll
	stop()
	admin := server.Client(t)
	channel := "guard:inbox:" + lease.OwnerProcess(owner)
	if n := admin.Publish(t.Context(), channel, owner+"\n9000000000000000\n1\nguard:k").Val(); n != 1 {
		t.Fatalf("%d receivers", n)
	}
	for _, nonsense := range []string{"nonsense", owner + "\nguard:k", owner + "\nsoon\n1\nguard:k", owner + "\n1\n\nguard:k"} {
		admin.Publish(t.Context(), channel, nonsense)
	}
	time.Sleep(100 * time.Millisecond)
	if p.value("guard:k") != owner {
		t.Error("the lease was released")
	}
}

// grantsOf has owner watched and stand in line for "k", and returns what its
// wake-ups say from then on.
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
	before := time.Now()
	grants := p.grantsOf(waiter)
	after := time.Now()
	p.release("k", holder)
	g := <-grants
	if g.Fence <= first.Fence {
		t.Errorf("token %d after %d", g.Fence, first.Fence)
	}
	if g.Since.Before(before) || g.Since.After(after) {
		t.Errorf("since %v, asked between %v and %v", g.Since, before, after)
	}
	if next := p.granted("k", waiter); next.Fence <= g.Fence {
		t.Errorf("token %d after %d", next.Fence, g.Fence)
	}
}

// A run that began on the wake-up alone is not mistaken for a grant that nobody
// wants when the inbox makes up for messages it may have missed.
func TestALeaseTakenOnTheWakeUpIsNotReleasedWhenTheInboxRecovers(t *testing.T) {
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
	if !<-taken {
		t.Fatal("the wake-up says nothing of the grant")
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

func TestWakeUpOfAGrantThatLapsedSaysNothing(t *testing.T) {
	server := redistest.Start(t)
	p := newProcess(t, server.Client(t))
	holder, waiter := p.NewOwner(""), p.NewOwner("")
	p.granted("k", holder)
	earlier := server.Client(t).Time(t.Context()).Val().UnixMicro()
	grants := p.grantsOf(waiter)
	message := fmt.Sprintf("%s\n%d\n%d\nguard:k", waiter, earlier, earlier)
	server.Client(t).Publish(t.Context(), "guard:inbox:"+lease.OwnerProcess(waiter), message)
	if g := <-grants; g != (lease.Grant{}) {
		t.Errorf("a message from before the last question was taken for %+v", g)
	}
}

// With ReplicaAck the run may not begin before replicas have the grant, which
// whoever made it did not wait for.
func TestWithReplicaAckAWakeUpSaysNothing(t *testing.T) {
	primary := redistest.Start(t)
	redistest.StartReplica(t, primary)
	p := newProcess(t, primary.Client(t), redisstore.ReplicaAck(1, 5*time.Second))
	holder, waiter := p.NewOwner(""), p.NewOwner("")
	p.granted("k", holder)
	grants := p.grantsOf(waiter)
	p.release("k", holder)
	if g := <-grants; g != (lease.Grant{}) {
		t.Errorf("the wake-up says %+v", g)
	}
	p.granted("k", waiter)
}

func TestInboxRecoversAndWakesEverybody(t *testing.T) {
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
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server.Addr())
	p := newProcess(t, dial(t, proxy))
	woken, stop := p.watching(p.NewOwner(""))
	defer stop()
	admin := server.Client(t)
	channel := "guard:inbox:" + lease.OwnerProcess(p.NewOwner(""))
	subscribed := func() bool { return admin.PubSubNumSub(t.Context(), channel).Val()[channel] > 0 }
	time.Sleep(2500 * time.Millisecond)
	if !subscribed() {
		t.Error("a connection that answers was given up because nobody wrote")
	}
	proxy.Blackhole(redistest.ToClient)
	eventually(t, "the connection is given up", func() bool { return !subscribed() })
	proxy.Heal()
	p.awaken(woken)
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
	time.Sleep(100 * time.Millisecond) // it subscribes in vain
	admin.ConfigResetStat(t.Context())
	p.release("k", holder) // cannot publish either
	p.granted("k", waiter)
	time.Sleep(500 * time.Millisecond)
	for line := range strings.Lines(admin.Info(t.Context(), "commandstats").Val()) {
		if strings.HasPrefix(line, "cmdstat_subscribe") {
			t.Errorf("subscribed again at once: %s", line)
		}
	}
}

func TestManyWaitersInManyProcesses(t *testing.T) {
	server := redistest.Start(t)
	var all sync.WaitGroup
	var inside, runs atomic.Int32
	for range 4 {
		p := newProcess(t, server.Client(t), redisstore.Prefix("stress:"))
		for range 8 {
			all.Go(func() {
				for range 5 {
					owner := p.NewOwner("")
					woken := make(chan struct{}, 1)
					stop := p.Watch(owner, func(lease.Grant) bool {
						select {
						case woken <- struct{}{}:
						default:
						}
						return false
					})
					var ticket int64
					for {
						r, err := p.try("k", owner, ticket)
						if err != nil {
							t.Error(err)
						}
						if r.Granted {
							break
						}
						ticket = r.Ticket
						select {
						case <-woken:
						case <-time.After(500 * time.Millisecond):
						}
					}
					stop()
					if n := inside.Add(1); n != 1 {
						t.Errorf("%d inside", n)
					}
					runs.Add(1)
					inside.Add(-1)
					p.release("k", owner)
				}
			})
		}
	}
	all.Wait()
	if n := runs.Load(); n != 4*8*5 {
		t.Errorf("%d runs", n)
	}
}

func TestWaiterThatLeftBeforeTheInboxListenedIsTakenOutOfTheLine(t *testing.T) {
	server := redistest.Start(t)
	p, rival := newProcess(t, server.Client(t)), newProcess(t, server.Client(t))
	rival.granted("k", rival.NewOwner(""))
	defer p.Watch(p.NewOwner(""), ignore)() // keeps the subscription
	gone := p.NewOwner("")
	stop := p.Watch(gone, ignore)
	p.refused("k", gone, 0)
	stop() // its leaving is not said; the subscription is only just being made
	eventually(t, "nobody is in line", func() bool {
		return len(p.client.Keys(t.Context(), "guard:q:*").Val()) == 0
	})
}
