package main_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"go.uber.org/goleak"

	"github.com/jobguard/jobguard/internal/sqltest"
)

// binaries are built once, as the tests are: what the program imports takes 200 s of a
// processor to compile, and need not be compiled both ways.
var (
	raceFlags []string // nil unless the tests were built with the race detector
	inventory string   // the program
	byProxy   string   // the same, where processes cannot be stopped
)

type built struct{ tests interface{ Run() int } }

func (b built) Run() int {
	dir, err := os.MkdirTemp("", "inventory-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }() // the system will, if we cannot
	inventory, byProxy = filepath.Join(dir, "inventory.exe"), filepath.Join(dir, "by-proxy.exe")
	for binary, tags := range map[string]string{inventory: "", byProxy: "inventory_proxy"} {
		args := append([]string{"build", "-o", binary, "-tags", tags}, raceFlags...)
		if out, err := exec.Command("go", append(args, ".")...).CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "go build: %v\n%s", err, out)
			return 1
		}
	}
	return b.tests.Run()
}

func TestMain(m *testing.M) { goleak.VerifyTestMain(built{sqltest.Main(m)}) }

// show is one run of the program.
type show struct {
	t      *testing.T
	binary string
	tmp    string
	cmd    *exec.Cmd
	began  time.Time
	out    buffer
	stderr buffer
}

// prepare makes ready a run of the program, with a temporary directory of its own, and
// under a name of its own, by which its processes are found.
func prepare(t *testing.T, binary string, env []string, args ...string) *show {
	t.Helper()
	s := &show{t: t, binary: filepath.Join(t.TempDir(), filepath.Base(binary)), tmp: t.TempDir()}
	if err := os.Link(binary, s.binary); err != nil {
		t.Fatal(err)
	}
	s.cmd = exec.Command(s.binary, args...)
	s.cmd.Env = append(append(os.Environ(), "TMPDIR="+s.tmp, "TMP="+s.tmp), env...)
	s.cmd.Stdout, s.cmd.Stderr = &s.out, &s.stderr
	return s
}

func (s *show) start() {
	s.t.Helper()
	s.began = time.Now()
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		_ = s.cmd.Process.Kill() // it has ended, unless the test failed
		if s.t.Failed() {
			s.t.Logf("output:\n%s%s", s.out.String(), s.stderr.String())
		}
	})
}

func start(t *testing.T, binary string, env []string, args ...string) *show {
	t.Helper()
	s := prepare(t, binary, env, args...)
	s.start()
	return s
}

// end waits for the end, checks that nothing is left behind, and returns the
// exit code. A run that had too little of the machine is repeated, twice at most.
func (s *show) end() int {
	s.t.Helper()
	code := s.endOnce()
	for range 2 {
		if !strings.Contains(s.stderr.String(), "this machine is too busy") {
			break
		}
		s.t.Log("too busy: once more")
		again := exec.Command(s.binary, s.cmd.Args[1:]...)
		again.Env, again.Stdout, again.Stderr = s.cmd.Env, s.cmd.Stdout, s.cmd.Stderr
		s.cmd = again
		s.out.Reset()
		s.stderr.Reset()
		s.start()
		code = s.endOnce()
	}
	return code
}

func (s *show) endOnce() int {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 2*time.Minute)
	defer cancel()
	defer context.AfterFunc(ctx, func() { _ = s.cmd.Process.Kill() })()
	err := s.cmd.Wait()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		s.t.Fatal(err)
	}
	longest := 20 * time.Second
	if raceFlags != nil { // the program is several times slower then, when it starts
		longest = 75 * time.Second
	}
	if took := time.Since(s.began); took > longest {
		s.t.Errorf("took %v, more than %v", took, longest)
	} else {
		s.t.Logf("took %v", took)
	}
	s.leftNoProcess()
	s.leftNoFile()
	return s.cmd.ProcessState.ExitCode()
}

// wait waits for the end of a program that was told to end. One that goes on is killed.
func (s *show) wait() error {
	s.t.Helper()
	late := time.AfterFunc(busyLimit, func() { _ = s.cmd.Process.Kill() })
	s.cmd.WaitDelay = busyLimit // for a replica that goes on, and has the output open
	err := s.cmd.Wait()
	if !late.Stop() {
		s.t.Errorf("it goes on after %v", busyLimit)
	}
	return err
}

func (s *show) leftNoFile() {
	s.t.Helper()
	left, err := os.ReadDir(s.tmp)
	if err != nil || len(left) > 0 {
		s.t.Errorf("left behind in the temporary directory: %v %v", left, err)
	}
}

// leftNoProcess looks for processes of the program, where that can be done.
func (s *show) leftNoProcess() {
	s.t.Helper()
	if runtime.GOOS != "linux" {
		return
	}
	if left := processesOf(s.t, s.binary); len(left) > 0 {
		s.t.Errorf("processes left behind: %v", left)
	}
}

func processesOf(t *testing.T, binary string) (pids []string) {
	t.Helper()
	links, err := filepath.Glob("/proc/[0-9]*/exe")
	if err != nil || len(links) == 0 {
		t.Fatalf("no processes at all: %v", err)
	}
	for _, link := range links {
		if exe, err := os.Readlink(link); err == nil && exe == binary {
			pids = append(pids, strings.Split(link, "/")[2])
		}
	}
	return pids
}

// row is a line of the table; -1 stands for "-".
type row struct{ sold, oversold, refused, lost int }

func (s *show) row(name string) row {
	s.t.Helper()
	m := regexp.MustCompile(`(?m)^` + name + ` +(\d+) +(\d+) +(\d+|-) +(\d+|-)$`).FindStringSubmatch(s.out.String())
	if m == nil {
		s.t.Fatalf("no line for %s in the table", name)
	}
	var n [4]int
	for i, text := range m[1:] {
		n[i] = -1
		if text != "-" {
			n[i], _ = strconv.Atoi(text) // digits, says the pattern
		}
	}
	return row{n[0], n[1], n[2], n[3]}
}

// kept checks a run that is to succeed.
func (s *show) kept(items int) {
	s.t.Helper()
	if code := s.end(); code != 0 {
		s.t.Fatalf("exit code %d", code)
	}
	if u := s.row("unguarded"); u.sold <= items || u.oversold != u.sold-items || u.refused != -1 || u.lost != -1 {
		s.t.Errorf("unguarded: %+v", u)
	}
	// On a busy machine a lease more may be lost. That is safe, and no mistake.
	if g := s.row("guarded"); g.sold != items || g.oversold != 0 || g.refused < 1 || g.lost < g.refused {
		s.t.Errorf("guarded: %+v", g)
	}
	for _, line := range []string{"the lease is lost", "its late write is refused", "As promised"} {
		if !strings.Contains(s.out.String(), line) {
			s.t.Errorf("%q is not in the output", line)
		}
	}
	if s.stderr.Len() > 0 {
		s.t.Errorf("complaints: %s", s.stderr.String())
	}
	s.plain()
}

// plain checks that the output suits a pipe, and a terminal of 80 columns.
func (s *show) plain() {
	s.t.Helper()
	for line := range strings.Lines(s.out.String()) {
		line = strings.TrimSuffix(line, "\n")
		if utf8.RuneCountInString(line) > 80 || strings.ContainsAny(line, "\r\x1b") {
			s.t.Errorf("not plain, or too wide: %q", line)
		}
	}
}
