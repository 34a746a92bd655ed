package guard_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestDocsNameTestsThatExist holds what the packages' docs and CONTRIBUTING claim
// to be shown by a test.
func TestDocsNameTestsThatExist(t *testing.T) {
	name := regexp.MustCompile(`\bTest[A-Z]\w+`)
	defined := regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	tests := func(pattern string) map[string]bool {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		there := make(map[string]bool)
		for _, file := range files {
			for _, f := range defined.FindAllStringSubmatch(read(t, file), -1) {
				there[f[1]] = true
			}
		}
		return there
	}
	everywhere := tests("*_test.go")
	for _, dir := range []string{"internal/engine/keep", "internal/engine/queue", "guardtest", "lease/redisstore", "httpmw", "asynqmw", "cronwrap"} {
		here := tests(filepath.Join(dir, "*_test.go"))
		for test := range here {
			everywhere[test] = true
		}
		names := name.FindAllString(read(t, filepath.Join(dir, "doc.go")), -1)
		if adapter := filepath.Base(dir) == dir && dir != "guardtest"; adapter && len(names) < 8 {
			t.Errorf("the doc of %s names %d tests", dir, len(names))
		}
		for _, named := range names {
			if !here[named] {
				t.Errorf("the doc of %s names %s, which does not exist", dir, named)
			}
		}
	}
	guarantees := regexp.MustCompile(`(?m)^\| G\d+ .*$`).FindAllString(read(t, "../CONTRIBUTING.md"), -1)
	if len(guarantees) < 10 {
		t.Errorf("CONTRIBUTING has %d guarantees", len(guarantees))
	}
	for _, g := range guarantees {
		for _, named := range name.FindAllString(g, -1) {
			if !everywhere[named] {
				t.Errorf("CONTRIBUTING names %s, which does not exist", named)
			}
		}
	}
}

// TestProgramsOfTheAdaptersDocsCompile holds that they can be copied as they are.
func TestProgramsOfTheAdaptersDocsCompile(t *testing.T) {
	program := regexp.MustCompile(`(?m)^//\tpackage main\n(//(\t.*)?\n)+`)
	for _, dir := range []string{"httpmw", "asynqmw", "cronwrap"} {
		code := program.FindString(read(t, filepath.Join(dir, "doc.go")))
		code = regexp.MustCompile(`(?m)^//\t?`).ReplaceAllString(code, "")
		if !strings.Contains(code, "func main() {") {
			t.Errorf("the doc of %s has no program", dir)
		}
		file := filepath.Join(t.TempDir(), "main.go")
		if err := os.WriteFile(file, []byte(code), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.CommandContext(t.Context(), "go", "vet", file).CombinedOutput(); err != nil {
			t.Errorf("the program in the doc of %s: %v\n%s", dir, err, out)
		}
	}
}

func read(t testing.TB, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
