package chaos

import (
	"bufio"
	"encoding/json"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/jobguard/jobguard/internal/redistest"
)

// process is a worker that is started again when it was killed.
type process struct {
	setup   setup
	proxies []*redistest.Proxy
	cmd     *exec.Cmd
	stdin   io.Closer
	lives   uint64
}

func newProcess(t *testing.T, s setup, targets []string) *process {
	p := &process{setup: s}
	p.setup.Via = make(map[string]string)
	for _, target := range targets {
		proxy := redistest.NewProxy(t, target)
		p.proxies = append(p.proxies, proxy)
		p.setup.Via[target] = proxy.Addr()
	}
	p.start(t)
	t.Cleanup(p.kill)
	return p
}

func (p *process) start(t *testing.T) {
	t.Helper()
	s := p.setup
	s.Via = maps.Clone(s.Via)
	s.Seed += p.lives
	p.lives++
	text, err := json.Marshal(s)
	must(t, err)
	p.cmd = exec.Command(os.Args[0])
	p.cmd.Env = append(os.Environ(), setupEnv+"="+string(text))
	p.cmd.Stderr = os.Stderr
	p.stdin, err = p.cmd.StdinPipe()
	must(t, err)
	out, err := p.cmd.StdoutPipe()
	must(t, err)
	must(t, p.cmd.Start())
	lines := bufio.NewScanner(out)
	if !lines.Scan() || lines.Text() != "ready" {
		t.Fatal("a worker ended at its start")
	}
}

func (p *process) kill() {
	_ = p.cmd.Process.Kill() // it may have ended
	_ = p.cmd.Wait()
}

// torment kills, stops and cuts processes by chance for d, and then lets all go on.
func torment(t *testing.T, processes []*process, chance *rand.Rand, d time.Duration) {
	var kills, stops, cuts int
	busy := make([]time.Time, len(processes)) // stopped, or cut, until
	mend := make([]func(), len(processes))
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(time.Duration(50+chance.IntN(250)) * time.Millisecond) {
		for i := range mend {
			if mend[i] != nil && time.Now().After(busy[i]) {
				mend[i]()
				mend[i] = nil
			}
		}
		i := chance.IntN(len(processes))
		if mend[i] != nil {
			continue
		}
		p := processes[i]
		busy[i] = time.Now().Add(time.Duration(200+chance.IntN(2500)) * time.Millisecond)
		switch chance.IntN(4) {
		case 0:
			kills++
			p.kill()
			p.start(t)
		case 1:
			stops++
			redistest.Suspend(t, p.cmd.Process)
			mend[i] = func() { redistest.Resume(t, p.cmd.Process) }
		default:
			cuts++
			dark := chance.IntN(2) == 0
			for _, proxy := range p.proxies {
				if dark {
					proxy.Blackhole(redistest.Both)
				} else {
					proxy.Cut()
				}
			}
			mend[i] = func() {
				for _, proxy := range p.proxies {
					proxy.Heal()
				}
			}
		}
	}
	for _, f := range mend {
		if f != nil {
			f()
		}
	}
	t.Logf("%d kills, %d stops, %d cuts", kills, stops, cuts)
}
