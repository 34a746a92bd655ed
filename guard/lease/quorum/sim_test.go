package quorum

import (
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
)

var (
	simSeeds = flag.Int("sim.seeds", defaultSeeds(), "how many schedules TestSimulation runs")
	simFirst = flag.Uint64("sim.first", 1, "the first seed")
)

// defaultSeeds is what the suite runs. `make sim-quick` has all of them.
func defaultSeeds() int {
	if RaceDetector {
		return 100
	}
	return 4000
}

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
	began     time.Time
	trouble   float64          // share of messages that are delayed or lost
	far       [simClients]bool // whom replies reach late
	nodes     []*simNode
	keys      int // 1 or 2
	calls     atomic.Int64
	onWakeUps atomic.Int64 // runs that began on a wake-up
	broken    broken

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
	minorityGrant   bool // a wake-up of one node counts as a grant
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
	spread := []time.Duration{4 * time.Second, time.Millisecond}[rnd.IntN(2)]
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
	wg.Go(func() { w.harm(rand.New(rand.NewPCG(seed, 1)), losing) })
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

// harm crashes and pauses nodes until all is healed. Nodes restart empty no sooner than
// a TTL after their crash, and different ones a TTL apart.
func (w *simWorld) harm(rnd *rand.Rand, losing bool) {
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

// tallyOf runs schedules in parallel and sums what they found.
func tallyOf(t *testing.T, first uint64, seeds int, b broken) (found map[string]int, runs int) {
	t.Helper()
	found = make(map[string]int)
	var mu sync.Mutex
	var next atomic.Uint64
	next.Store(first)
	var calls, onWakeUps int64
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
					onWakeUps += w.onWakeUps.Load()
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
	t.Logf("%d schedules, %d runs, %d of them on a wake-up, %d calls of nodes: %v", seeds, runs, onWakeUps, calls, found)
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
		kind  string
		first uint64 // seed, shortly before one that finds it
	}{
		"without write-back":           {broken{noWriteBack: true}, "token", 1},
		"trust counted from the reply": {broken{trustFromReply: true}, "double grant", 141},
		"renewal by a minority":        {broken{minorityRenewal: true}, "double grant", 31},
		"start on one node's wake-up":  {broken{minorityGrant: true}, "double grant", 1},
	} {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			const most = 10_000
			batch, enough := 500, 3
			if RaceDetector {
				batch, enough = 10, 1
			}
			found, runs, seeds := 0, 0, 0
			for ; found < enough && seeds < most; seeds += batch {
				some, n := tallyOf(t, c.first+uint64(seeds), batch, c.broken)
				found, runs = found+some[c.kind], runs+n
			}
			t.Logf("%s: %s found %d times in %d schedules, %d runs", name, c.kind, found, seeds, runs)
			if found == 0 {
				t.Errorf("%s: no %s found", name, c.kind)
			}
		})
	}
}
