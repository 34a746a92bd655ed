package guardvet_test

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/tools/go/analysis/analysistest"

	"github.com/jobguard/jobguard/guardvet"
)

// testdata is a module of its own, with the packages that it uses.
func TestFindsMistakesAndNothingElse(t *testing.T) {
	// analysistest lets go download nothing.
	load := exec.CommandContext(t.Context(), "go", "list", "-deps", "./...")
	load.Dir = "testdata"
	load.Env = append(load.Environ(), "GOWORK=off")
	if out, err := load.CombinedOutput(); err != nil {
		t.Fatalf("go list: %v\n%s", err, out)
	}
	analysistest.Run(t, analysistest.TestData(), guardvet.Analyzer, "./runs")
}

// The command works as a tool of go vet. `make lint` runs it on this repository.
func TestCommandIsAToolOfGoVet(t *testing.T) {
	tool := filepath.Join(t.TempDir(), "guardvet")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", tool, "./cmd/guardvet").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	cmd := exec.CommandContext(t.Context(), "go", "vet", "-vettool="+tool, "./small")
	cmd.Dir = "testdata"
	cmd.Env = append(cmd.Environ(), "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "comes from outside of the function") {
		t.Errorf("go vet: %v\n%s", err, out)
	}
}
