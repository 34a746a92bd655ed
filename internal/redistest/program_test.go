package redistest_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jobguard/jobguard/internal/redistest"
)

// program returns the path of the server that all tests of this run start.
func program(t *testing.T) string {
	t.Helper()
	name := os.Getenv(redistest.ServerEnv)
	if name == "" {
		name = "redis-server"
	}
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// script writes an executable shell script and returns its path.
func script(t *testing.T, body string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "server")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+body+"\n"), 0o700); err != nil { //nolint:gosec // it is run
		t.Fatal(err)
	}
	return path
}

func TestEnvironmentNamesTheServerProgram(t *testing.T) {
	mark := filepath.Join(t.TempDir(), "started")
	t.Setenv(redistest.ServerEnv, script(t, fmt.Sprintf("echo $$ >>'%s'\nexec '%s' \"$@\"", mark, program(t))))
	s := redistest.Start(t)
	first := s.Pid()
	s.Restart()
	got, err := os.ReadFile(mark)
	if want := fmt.Sprintf("%d\n%d\n", first, s.Pid()); err != nil || string(got) != want {
		t.Errorf("the named program started as %q, %v; want %q", got, err, want)
	}
}

func TestWrongServerProgramFailsTheTestWithItsPath(t *testing.T) {
	notExecutable := filepath.Join(t.TempDir(), "server")
	if err := os.WriteFile(notExecutable, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, why := range map[string]string{
		"/no/such/server":    "no such file",
		notExecutable:        "permission denied",
		"no-such-server":     "not found in $PATH",
		"./bin/redis-server": "must be absolute",
	} {
		t.Setenv(redistest.ServerEnv, name)
		got := failureOf(t, func(tb testing.TB) { redistest.Start(tb) })
		if !strings.Contains(got, redistest.ServerEnv+"="+name+": ") || !strings.Contains(got, why) {
			t.Errorf("%s: failed with %q, want %q", name, got, why)
		}
	}
}

func TestServerProgramThatIsNoServerShowsWhatItPrinted(t *testing.T) {
	t.Setenv(redistest.ServerEnv, script(t, "echo out of order; exit 3"))
	got := failureOf(t, func(tb testing.TB) { redistest.Start(tb) })
	if !strings.Contains(got, "exited at once") || !strings.Contains(got, "out of order") {
		t.Errorf("failed with %q", got)
	}
}
