package monitoring_test

import (
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if addr := os.Getenv(programEnv); addr != "" {
		if err := program(addr); err != nil {
			log.Fatal(err)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

// toolsEnv is the folder of the promtool and the prometheus to test with. Without it
// they are those of the machine.
const toolsEnv = "JOBGUARD_PROMETHEUS"

// tool finds a program of Debian's prometheus package. Without it the test fails:
// nothing here ever skips.
func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(filepath.Join(os.Getenv(toolsEnv), name))
	if err != nil {
		t.Fatalf("%s not found, install it: apt-get install -y --no-install-recommends prometheus", name)
	}
	return path
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func promtool(t *testing.T, args ...string) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), tool(t, "promtool"), args...).CombinedOutput()
	if err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}
