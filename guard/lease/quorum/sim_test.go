package quorum

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jobguard/jobguard/guard/lease"
)

var (
	simSeeds = flag.Int("sim.seeds", 4000, "how many schedules TestSimulation runs")
	simFirst = flag.Uint64("sim.first", 1, "the first seed")
)

const (
	simNodes   = 5
	simClients = 6
	simTTL     = time.Second
	simMargin  = simTTL / 20     // by which clocks may differ in a TTL
	simTrouble = 3 * time.Second // then all is healed
	simServed  = 4 * time.Second // within which every client must be served then
)

// simWorld is one schedule: clients that contend for two keys over nodes and a network in
// trouble, which heal.
type simWorld struct {
	began   time.Time
	trouble float64          // share of messages that are delayed or lost
	far     [simClients]bool // whom replies reach late
	nodes   []*simNode
	keys    int // 1 or 2
	calls   atomic.Int64
	broken  broken

	mu     sync.Mutex
	cuts   [simClients]simCut
	inside map[string]*simRun // by key
	last   map[string]int64   // token, by key
	served map[int]bool       // clients, since all is healed
	runs   int
	found  map[string]int // violations, by kind
	first  string
}

// broken is what a harness has broken, to show that the simulation finds it.
type broken struct {
	noWriteBack     bool // a node that is told a token forgets it
	trustFromReply  bool // validity is counted from the last reply
	minorityRenewal bool // a renewal counts if any node says so
}

// simRun is one client's run under a key.
type simRun struct {
	client int
	until  time.Time // end of trust
}

// simCut is a client's loss of its links to some nodes. It keeps what it has there.
type simCut struct {
	until time.Time
	nodes []*simNode
}

// cutOff cuts a client, a holder if there is one, off from a majority of nodes or from all.
func (w *simWorld) cutOff(rnd *rand.Rand, d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	client := rnd.IntN(simClients)
	if run := w.inside[[]string{"a", "b"}[rnd.IntN(w.keys)]]; run != nil {
		client = run.client
	}
	nodes := slices.Clone(w.nodes)
	rnd.Shuffle(simNodes, func(i, j int) { nodes[i], nodes[j] = nodes[j], nodes[i] })
	w.cuts[client] = simCut{until: time.Now().Add(d), nodes: nodes[rnd.IntN(simNodes/2+1):]}
}

func (w *simWorld) isCut(client int, n *simNode) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	c := &w.cuts[client]
	return time.Now().Before(c.until) && slices.Contains(c.nodes, n)
}

func (w *simWorld) healed() bool { return time.Since(w.began) >= simTrouble }

func (w *simWorld) violationLocked(kind, format string, args ...any) {
	w.found[kind]++
	if w.first == "" {
		w.first = fmt.Sprintf("after %v: ", time.Since(w.began)) + fmt.Sprintf(format, args...)
	}
}

// enter begins a run, and checks that no other goes on and that its token is above all
// before.
func (w *simWorld) enter(key string, r *simRun, token int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.runs++
	if other := w.inside[key]; other != nil && other != r && time.Now().Before(other.until) {
		w.violationLocked("double grant", "%s: client %d enters while client %d has %v of trust left", key, r.client, other.client, time.Until(other.until))
	}
	if token <= w.last[key] {
		w.violationLocked("token", "%s: client %d has token %d after %d", key, r.client, token, w.last[key])
	}
	w.last[key] = max(w.last[key], token)
	w.inside[key] = r
	if w.healed() {
		w.served[r.client] = true
	}
}

func (w *simWorld) extend(r *simRun, until time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	r.until = until
}

func (w *simWorld) leave(key string, r *simRun) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.inside[key] == r {
		w.inside[key] = nil
	}
}

func (w *simWorld) allServed() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.served) == simClients
}

// simulate runs one schedule inside a synctest bubble.
func simulate(seed uint64, b broken) *simWorld {
	rnd := rand.New(rand.NewPCG(seed, 0))
	w := &simWorld{
		began: time.Now(), trouble: rnd.Float64() * 0.4, broken: b,
		inside: make(map[string]*simRun), last: make(map[string]int64),
		served: make(map[int]bool), found: make(map[string]int),
	}
	// Nodes lose data only if their clocks are close; else clocks may be anything.
	w.keys = 1 + rnd.IntN(2)
	for i := range w.far {
		w.far[i] = rnd.IntN(3) == 0
	}
	losing := rnd.IntN(2) == 0
	spread := 4 * time.Second
	if losing {
		spread = 10 * time.Millisecond
	}
	for range simNodes {
		w.nodes = append(w.nodes, &simNode{
			w: w, keys: make(map[string]*simKey),
			offset: rand2(rnd, spread), rate: 0.95 + 0.1*rnd.Float64(),
		})
	}
	var wg sync.WaitGroup
	wg.Go(func() { w.break_(rand.New(rand.NewPCG(seed, 1)), losing) })
	for i := range simClients {
		c := newSimClient(w, i, seed)
		wg.Go(c.run)
	}
	wg.Wait()
	if !w.allServed() {
		w.mu.Lock()
		w.violationLocked("starved", "%d of %d clients were served within %v of healing", len(w.served), simClients, simServed)
		w.mu.Unlock()
	}
	time.Sleep(4 * simTTL) // cleaners end
	return w
}

// break_ crashes and pauses nodes until all is healed. Nodes restart empty no sooner than
// a TTL after their crash, and different ones a TTL apart.
func (w *simWorld) break_(rnd *rand.Rand, losing bool) {
	const ttl = simTTL * 11 / 10 // of the slowest clock
	var whole time.Time          // when the last loss of data is healed
	for {
		time.Sleep(20*time.Millisecond + rand2(rnd, 500*time.Millisecond))
		left := simTrouble - time.Since(w.began)
		if left < 50*time.Millisecond {
			return
		}
		n := w.nodes[rnd.IntN(simNodes)]
		n.mu.Lock()
		bad := n.down || n.paused
		n.mu.Unlock()
		if bad {
			continue
		}
		d := min(left, rand2(rnd, time.Second))
		if rnd.IntN(2) == 0 {
			w.cutOff(rnd, 2*d)
			continue
		}
		switch rnd.IntN(4) {
		case 0, 1:
			n.pause(d)
		case 2:
			n.crash(d, false)
		default:
			if d = ttl + d/4; losing && time.Now().After(whole) && d < left {
				n.crash(d, true)
				whole = time.Now().Add(d + ttl)
			}
		}
	}
}

// simClient does what the engine does, with one lease at a time.
type simClient struct {
	w     *simWorld
	i     int
	rnd   *rand.Rand
	store *Store
	nodes []lease.Store
}

func newSimClient(w *simWorld, i int, seed uint64) *simClient {
	c := &simClient{w: w, i: i, rnd: rand.New(rand.NewPCG(seed, uint64(100+i)))}
	for j, n := range w.nodes {
		var s lease.Store = &simStore{
			n: n, client: i, process: fmt.Sprintf("c%dn%d", i, j), wakes: make(map[string]lease.Waker),
			rnd: rand.New(rand.NewPCG(seed, uint64(1000+simNodes*i+j))),
		}
		if w.broken.noWriteBack {
			s = forgetful{s.(*simStore)}
		}
		c.nodes = append(c.nodes, s)
	}
	store, err := New(c.nodes...)
	if err != nil {
		panic(err)
	}
	jitters := rand.New(rand.NewPCG(seed, uint64(200+i)))
	var mu sync.Mutex
	store.random = func(n int64) int64 {
		mu.Lock()
		defer mu.Unlock()
		return jitters.Int64N(n)
	}
	c.store = store
	return c
}

// forgetful is a node that is not told tokens.
type forgetful struct{ *simStore }

func (f forgetful) Renew(ctx context.Context, rs []lease.RenewRequest) []lease.RenewReply {
	without := make([]lease.RenewRequest, len(rs))
	for i, r := range rs {
		r.Fence = 0
		without[i] = r
	}
	return f.simStore.Renew(ctx, without)
}

// run contends until the client was served after healing, or is too late.
func (c *simClient) run() {
	for !c.w.allServed() && time.Since(c.w.began) < simTrouble+simServed {
		time.Sleep(rand2(c.rnd, 250*time.Millisecond))
		c.once([]string{"a", "b"}[c.rnd.IntN(c.w.keys)])
	}
}

// once waits for key and runs under it.
func (c *simClient) once(key string) {
	owner := c.store.NewOwner("")
	woken := make(chan struct{}, 1)
	c.store.Watch(owner, lease.WakeFunc(func(lease.Grant) bool {
		select {
		case woken <- struct{}{}:
		default:
		}
		return false
	}))
	place := lease.Place{Reservation: simTTL, Poll: simTTL / 2}
	r := lease.AcquireRequest{
		Key: key, Owner: owner, TTL: simTTL, Join: c.rnd.IntN(8) > 0, Place: place, TokenCount: 1 + c.rnd.IntN(2)*500,
	}
	end := c.w.began.Add(simTrouble + simServed)
	var unknown time.Time
	for time.Now().Before(end) {
		deadline := time.Now().Add([]time.Duration{100 * time.Millisecond, simTTL - simMargin}[c.rnd.IntN(2)])
		a := lease.NewAttempt(deadline)
		sent := time.Now()
		reply, err := c.store.Acquire(a, r)
		a.End()
		if !reply.Sent.IsZero() {
			sent = reply.Sent
		}
		if c.w.broken.trustFromReply {
			sent = time.Now()
		}
		if err != nil && deadline.After(unknown) {
			unknown = deadline
		}
		if trust := sent.Add(simTTL - simMargin); reply.Granted && time.Now().Before(trust) {
			c.store.Unwatch(owner)
			c.hold(key, owner, reply, trust, unknown)
			return
		}
		if !r.Join || c.rnd.IntN(40) == 0 && !c.w.healed() {
			break // tried once, or gives up
		}
		pause := 60*time.Millisecond + rand2(c.rnd, 190*time.Millisecond)
		if reply.Remaining > 0 && reply.Remaining < pause {
			pause = reply.Remaining + time.Millisecond
		}
		if err != nil {
			pause = rand2(c.rnd, 100*time.Millisecond)
		}
		t := time.NewTimer(pause)
		select {
		case <-woken:
		case <-t.C:
		}
		t.Stop()
	}
	c.store.Unwatch(owner)
	c.release(lease.ReleaseRequest{Key: key, Owner: owner, Place: place}, unknown)
}

// hold is the run: one or two holds of the lease, renewed meanwhile.
func (c *simClient) hold(key, owner string, reply lease.AcquireReply, trust, unknown time.Time) {
	run := &simRun{client: c.i, until: trust}
	c.w.enter(key, run, reply.Fence)
	work := rand2(c.rnd, 8*time.Millisecond)
	switch long := c.rnd.IntN(8); {
	case c.w.healed(): // the bound is for waiting, not for others' work
	case long <= 1:
		work = rand2(c.rnd, 2*simTTL)
	case long <= 3:
		work = rand2(c.rnd, 200*time.Millisecond)
	}
	used := reply.Fence
	done := time.Now().Add(work)
	renewal := time.Now().Add(simTTL / 3)
	for time.Now().Before(done) && time.Now().Before(trust) {
		next := done
		for _, at := range []time.Time{renewal, trust} {
			if at.Before(next) {
				next = at
			}
		}
		time.Sleep(time.Until(next))
		if !time.Now().Before(renewal) && time.Now().Before(trust) {
			sent := time.Now()
			held, err := c.renew(key, owner, &sent)
			switch {
			case err != nil:
				renewal = time.Now().Add(20 * time.Millisecond)
			case !held:
				trust = time.Now()
			default:
				if until := sent.Add(simTTL - simMargin); until.After(trust) && time.Now().Before(trust) {
					trust = until
				}
				renewal = sent.Add(simTTL / 3)
			}
			c.w.extend(run, trust)
		}
	}
	if last := reply.Fence + int64(reply.TokenCount) - 1; used < last && time.Now().Before(trust) && c.rnd.IntN(2) == 0 {
		used += 1 + c.rnd.Int64N(last-used) // a local handoff
		c.w.enter(key, run, used)
	}
	c.w.leave(key, run)
	c.release(lease.ReleaseRequest{
		Key: key, Owner: owner, Place: lease.Place{Reservation: simTTL, Poll: simTTL / 2},
		Fence: used, LastFence: reply.Fence + int64(reply.TokenCount) - 1,
	}, unknown)
}

func (c *simClient) renew(key, owner string, sent *time.Time) (held bool, err error) {
	a := lease.NewAttempt(time.Now().Add(250 * time.Millisecond))
	defer a.End()
	r := lease.RenewRequest{Key: key, Owner: owner, TTL: simTTL}
	if c.w.broken.minorityRenewal {
		return c.renewByAny(a, r), nil
	}
	reply := c.store.Renew(a, []lease.RenewRequest{r})[0]
	if !reply.Sent.IsZero() {
		*sent = reply.Sent
	}
	if c.w.broken.trustFromReply {
		*sent = time.Now()
	}
	return reply.Held, reply.Err
}

// renewByAny is a renewal that a minority is enough for.
func (c *simClient) renewByAny(ctx context.Context, r lease.RenewRequest) bool {
	var held atomic.Bool
	var wg sync.WaitGroup
	for i, n := range c.nodes {
		wg.Go(func() {
			r := r
			r.Owner = c.store.idOn(i, 0, r.Owner)
			if reply := n.Renew(ctx, []lease.RenewRequest{r})[0]; reply.Err == nil && reply.Held {
				held.Store(true)
			}
		})
	}
	wg.Wait()
	return held.Load()
}

// release gives back, as often as the engine does.
func (c *simClient) release(r lease.ReleaseRequest, unknown time.Time) {
	once := func() error {
		a := lease.NewAttempt(time.Now().Add(250 * time.Millisecond))
		defer a.End()
		_, err := c.store.Release(a, r)
		return err
	}
	for range 4 {
		if once() == nil {
			break
		}
		r.Fence, r.LastFence = 0, 0
	}
	if unknown.After(time.Now()) {
		time.AfterFunc(time.Until(unknown)+time.Millisecond, func() { _ = once() })
	}
}

// tallyOf runs schedules in parallel and sums what they found.
func tallyOf(t *testing.T, first uint64, seeds int, b broken) (found map[string]int, runs int) {
	t.Helper()
	found = make(map[string]int)
	var mu sync.Mutex
	var next atomic.Uint64
	next.Store(first)
	var calls int64
	t.Run("seeds", func(t *testing.T) {
		for worker := range runtime.GOMAXPROCS(0) {
			t.Run(fmt.Sprint(worker), func(t *testing.T) {
				t.Parallel()
				for seed := next.Add(1) - 1; seed < first+uint64(seeds); seed = next.Add(1) - 1 {
					var w *simWorld
					synctest.Test(t, func(*testing.T) { w = simulate(seed, b) })
					mu.Lock()
					runs += w.runs
					calls += w.calls.Load()
					for kind, n := range w.found {
						found[kind] += n
					}
					if len(w.found) > 0 && b == (broken{}) {
						t.Errorf("seed %d: %v; %s", seed, w.found, w.first)
					}
					mu.Unlock()
				}
			})
		}
	})
	t.Logf("%d schedules, %d runs, %d calls of nodes: %v", seeds, runs, calls, found)
	return found, runs
}

// Sentences: no double grant, no token that is not above all before, every client served
// within the bound after healing.
func TestSimulationFindsNothing(t *testing.T) {
	tallyOf(t, *simFirst, *simSeeds, broken{})
}

// The same harness finds the faults that it is there for.
func TestSimulationFindsWhatIsBroken(t *testing.T) {
	for name, c := range map[string]struct {
		broken
		kind string
	}{
		"without write-back":           {broken{noWriteBack: true}, "token"},
		"trust counted from the reply": {broken{trustFromReply: true}, "double grant"},
		"renewal by a minority":        {broken{minorityRenewal: true}, "double grant"},
	} {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			found, runs := tallyOf(t, 1, 1000, c.broken)
			t.Logf("%s: %v in %d runs", name, found, runs)
			if found[c.kind] == 0 {
				t.Errorf("%s: no %s found", name, c.kind)
			}
		})
	}
}
