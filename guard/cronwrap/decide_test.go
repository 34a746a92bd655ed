package cronwrap

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jobguard/jobguard/guard/lease"
)

// at is a time in seconds after 2000. The job of the table comes due every 10 s.
func at(seconds float64) time.Time {
	return time.Date(2000, 1, 1, 0, 0, 0, int(seconds*1e9), time.UTC)
}

func ticks(seconds ...float64) (due []dueTick) {
	for _, sec := range seconds {
		due = append(due, dueTick{tick: at(sec), came: at(sec)})
	}
	return due
}

func runs(fromTo ...float64) (spans []span) {
	for i := 0; i < len(fromTo); i += 2 {
		spans = append(spans, span{at(fromTo[i]), at(fromTo[i+1])})
	}
	return spans
}

var (
	done    = lease.Tick{At: at(100), Done: true, Attempts: 1}
	running = lease.Tick{At: at(100), Attempts: 1}
)

func TestDecisionIsAFunctionOfWhatIsKnownAndTheOptions(t *testing.T) {
	var (
		once      []JobOption
		wait      = []JobOption{OverlapWait()}
		catchUp   = []JobOption{CatchUp(2, time.Minute)}
		waitAll   = []JobOption{CatchUp(9, time.Minute), OverlapWait()}
		again     = []JobOption{AtLeastOnce(time.Minute)}
		exclusive = []JobOption{MutualExclusion()}
	)
	gap := func(last lease.Tick, since float64) lease.Tick { last.Since = at(since); return last }
	tried := func(n int) lease.Tick { return lease.Tick{At: at(100), Attempts: n} }
	given := func(due []dueTick) []dueTick { due[0].asked = true; return due }
	for _, c := range []struct {
		what string
		opts []JobOption
		view view
		want string
	}{
		// A tick that came due, and what the store remembers.
		{"the first ever", once, view{due: ticks(110)}, "run 110"},
		{"the next", once, view{last: done, due: ticks(110)}, "run 110"},
		{"claimed by another", once, view{last: running, due: ticks(100)}, "100 elsewhere"},
		{"a later one was claimed", once, view{last: done, due: ticks(90)}, "90 elsewhere"},
		{"it was passed over", once, view{last: gap(done, 100), due: ticks(90)}, "90 missed"},
		{"it was run after ticks were passed over", once, view{last: gap(done, 80), due: ticks(80)}, "80 elsewhere"},
		{"the one between did not come due here", once, view{last: done, due: ticks(120)}, "run 120 over a gap"},
		{"an earlier run died", once, view{last: running, due: ticks(110), held: true}, "run 110"},

		// Several, after a failure of the store.
		{"two, in order", once, view{last: done, due: ticks(110, 120), now: at(111.5)}, "run 110 120"},
		{"the earlier is too late", once, view{last: done, due: ticks(110, 120), now: at(120)}, "110 missed, run 120 over a gap"},
		{"one is claimed", once, view{last: lease.Tick{At: at(110)}, due: ticks(110, 120)}, "110 elsewhere, run 120"},
		{"one was given up before", once, view{last: done, due: given(ticks(110, 120))}, "run 120 over a gap"},
		{"and is learned to have run", once, view{last: lease.Tick{At: at(120)}, due: given(ticks(110))}, "110 elsewhere"},

		// What came due during a run in this process.
		{"dropped", once, view{last: done, due: ticks(110), spans: runs(100, 115)}, "110 dropped"},
		{"the run ends within 250 ms", once, view{last: done, due: ticks(110), spans: runs(100, 110.2)}, "run 110"},
		{"the run began later", once, view{last: done, due: ticks(110), spans: runs(110.5, 115), now: at(111)}, "run 110"},
		{"dropped ticks are no gap", once, view{last: done, due: ticks(110, 120), spans: runs(100, 119)}, "110 dropped, run 120"},
		{"with wait the latest waits", wait, view{last: done, due: ticks(110, 120), spans: runs(100, 125), now: at(125)}, "110 replaced, run 120"},
		{"with catch-up all wait", waitAll, view{last: done, due: ticks(110, 120), spans: runs(100, 125), now: at(125)}, "run 110 120"},
		{"with mutual exclusion the latest", exclusive, view{due: ticks(110, 120), now: at(125)}, "110 replaced, run 120"},

		// Catching up.
		{"nothing missed", catchUp, view{last: done, now: at(105)}, ""},
		{"the latest two", catchUp, view{last: done, now: at(145)}, "run 130 140 over a gap (2 missed)"},
		{"and the due one", catchUp, view{last: done, due: ticks(140), now: at(141)}, "run 120 130 140 over a gap (2 missed)"},
		{"not older than", catchUp, view{last: done, now: at(185)}, "run 170 180 over a gap (2 missed)"},
		{"a job that never ran", catchUp, view{now: at(145)}, ""},
		{"that came due here first", catchUp, view{now: at(145), first: at(140)}, "run 140 (1 missed)"},
		{"what a run overlapped was not missed", catchUp, view{last: done, now: at(145), spans: runs(100, 135)}, "run 140 (1 missed)"},
		{"what a dead run overlapped was", catchUp, view{last: running, now: at(125), held: true}, "run 110 120 (2 missed)"},

		// At least once.
		{"somebody waits for the run's end", again, view{last: running, due: ticks(100), now: at(101)}, "wait"},
		{"it is over", again, view{last: done, due: ticks(100), now: at(101)}, "100 elsewhere"},
		{"its runner is gone", again, view{last: running, due: ticks(100), now: at(101), held: true}, "rerun 100 attempt 2"},
		{"before the next", again, view{last: running, due: ticks(110), now: at(111), held: true}, "rerun 100 110 attempt 2"},
		{"however late", again, view{last: running, now: at(265), held: true}, "rerun 100 210 220 230 240 250 260 attempt 2 (6 missed)"},
		{"a third time", again, view{last: tried(2), now: at(101), held: true}, "rerun 100 attempt 3"},
		{"no fourth time", again, view{last: tried(3), now: at(101), held: true}, "bury 100 attempt 4"},
		{"one that was broken off", again, view{last: tried(0), now: at(101), held: true}, "rerun 100 attempt 1"},
	} {
		t.Run(c.what, func(t *testing.T) {
			o, err := newJobOptions(c.opts)
			if err != nil {
				t.Fatal(err)
			}
			p := o.decide(c.view, schedule{aligned(10 * time.Second), time.UTC})
			if got := p.text(); got != c.want {
				t.Errorf("decided %q, want %q", got, c.want)
			}
		})
	}
}

// text is what a plan says, in words.
func (p *plan) text() string {
	second := func(t time.Time) string { return fmt.Sprint(int(t.Sub(at(0)).Seconds())) }
	words := map[error]string{errDealtWith: "elsewhere", errOverlap: "dropped", errSuperseded: "replaced", ErrMissed: "missed"}
	var parts []string
	for _, s := range p.settled {
		for err, word := range words {
			if errors.Is(s.why, err) {
				parts = append(parts, second(s.tick)+" "+word)
			}
		}
	}
	slices.Sort(parts)
	verb := map[bool]string{false: "run", true: "rerun"}[p.rerun]
	if p.dead {
		verb = "bury"
	}
	for _, tick := range p.run {
		verb += " " + second(tick)
	}
	if p.gap {
		verb += " over a gap"
	}
	if p.rerun {
		verb += fmt.Sprint(" attempt ", p.attempt)
	}
	if p.missed > 0 {
		verb += fmt.Sprintf(" (%d missed)", p.missed)
	}
	if p.open {
		parts = append(parts, "wait")
	}
	if len(p.run) > 0 {
		parts = append(parts, verb)
	}
	return strings.Join(parts, ", ")
}

func TestEndOfARunSettlesWhatItOverlapped(t *testing.T) {
	for _, c := range []struct {
		what string
		opts []JobOption
		runs []span
		want float64
	}{
		{"none", nil, runs(100, 105), 100},
		{"two", nil, runs(100, 125), 120},
		{"not one within 250 ms of the end", nil, runs(100, 120.1), 110},
		{"not one before the run began", nil, runs(115, 145), 100},
		{"over several runs", nil, runs(100, 115, 115, 135), 130},
		{"not over a pause", nil, runs(100, 115, 125, 145), 110},
		{"with wait all but the latest", []JobOption{OverlapWait()}, runs(100, 135), 120},
		{"with catch-up none", []JobOption{OverlapWait(), CatchUp(1, time.Hour)}, runs(100, 135), 100},
	} {
		o, err := newJobOptions(c.opts)
		if err != nil {
			t.Fatal(err)
		}
		if got := o.accounted(at(100), c.runs, schedule{aligned(10 * time.Second), time.UTC}); !got.Equal(at(c.want)) {
			t.Errorf("%s: settled until %v, want %v", c.what, got, at(c.want))
		}
	}
}
