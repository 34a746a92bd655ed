package guard_test

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Packages whose docs may name tests, by the name of their file in docs/behaviour,
// with the directory of each.
var documented = map[string]string{
	"guard":      ".",
	"stop":       "stop",
	"httpmw":     "httpmw",
	"asynqmw":    "asynqmw",
	"cronwrap":   "cronwrap",
	"keep":       "internal/engine/keep",
	"queue":      "internal/engine/queue",
	"lease":      "lease",
	"guardtest":  "guardtest",
	"redisstore": "lease/redisstore",
	"journal":    "journal",
	"redislog":   "journal/redislog",
	"sqllog":     "journal/databases",
	"chaos":      "journal/databases/chaos",
	"sqlfence":   "sqlfence",
	"databases":  "sqlfence/databases",
	"quorum":     "lease/quorum",
	"otelguard":  "../otelguard",
}

var adapters = []string{"httpmw", "asynqmw", "cronwrap"}

// namedTest is a test as the docs name it, "TestX" or "TestX/subtest".
var namedTest = regexp.MustCompile(`\bTest[A-Z]\w+`)

// A line of a table that ends with tests names one, says "the same" as the one above, or admits
// that there is none, which only this many may.
func TestLinesOfBehaviourNameTheirTest(t *testing.T) {
	files, err := filepath.Glob("../docs/behaviour/*.md")
	must(t, err)
	lines, without := 0, 0
	for _, file := range files {
		header := true
		proven := false // the table says what shows each of its lines
		for line := range strings.Lines(read(t, file)) {
			if !strings.HasPrefix(line, "|") {
				header = true
				continue
			}
			cells := strings.Split(strings.Trim(line, "| \n"), "|")
			last := strings.TrimSpace(cells[len(cells)-1])
			switch {
			case header:
				header, proven = false, slices.Contains([]string{"Test", "Tests", "Proved by", "Shown by"}, last)
			case !proven || strings.HasPrefix(line, "|-") || strings.HasPrefix(line, "| -"):
			case last == "no test":
				without++
			case last != "the same" && !namedTest.MatchString(line):
				t.Errorf("%s: no test: %s", file, line)
			default:
				lines++
			}
		}
	}
	if lines < 450 || without > 1 {
		t.Errorf("%d lines have a test, %d have none", lines, without)
	}
}

// The docs of a package, in doc.go and docs/behaviour, name tests of that package, and
// redisstore's also those of guard, sqlfence's those of databases; other files of docs name those of any. An adapter's docs name at least 8.
func TestDocsNameTestsThatExist(t *testing.T) {
	files, err := filepath.Glob("../docs/behaviour/*.md")
	must(t, err)
	files = append(files, "../docs/doctor.md")
	named := make(map[string][]string) // by package
	for _, file := range files {
		named[strings.TrimSuffix(filepath.Base(file), ".md")] = namedTest.FindAllString(read(t, file), -1)
	}
	everywhere := make(map[string]bool)
	for pkg, dir := range documented {
		defined := testsIn(t, dir)
		for test := range defined {
			everywhere[test] = true
		}
		if pkg == "redisstore" {
			maps.Copy(defined, testsIn(t, documented["guard"])) // TestRedis… are about both
		}
		if pkg == "sqlfence" {
			maps.Copy(defined, testsIn(t, documented["databases"]))
		}
		names := slices.Concat(named[pkg], namedTest.FindAllString(read(t, filepath.Join(dir, "doc.go")), -1))
		if slices.Contains(adapters, pkg) && len(names) < 8 {
			t.Errorf("the docs of %s name %d tests, want at least 8", pkg, len(names))
		}
		mustExist(t, "the docs of "+pkg, names, defined)
		delete(named, pkg)
	}
	for file, names := range named {
		mustExist(t, file+".md", names, everywhere)
	}
	for _, dir := range []string{"../bench", "../examples/inventory", "httpmw/routers", "lease/storetest"} {
		maps.Copy(everywhere, testsIn(t, dir))
	}
	pages, err := filepath.Glob("../docs/*.md")
	must(t, err)
	for _, file := range pages {
		mustExist(t, file, namedTest.FindAllString(read(t, file), -1), everywhere)
	}
	guarantees := regexp.MustCompile(`(?m)^\| G\d+ .*$`).FindAllString(read(t, "../CONTRIBUTING.md"), -1)
	if len(guarantees) < 10 {
		t.Errorf("CONTRIBUTING has %d guarantees, want at least 10", len(guarantees))
	}
	for _, g := range guarantees {
		mustExist(t, "CONTRIBUTING", namedTest.FindAllString(g, -1), everywhere)
	}
}

func mustExist(t *testing.T, where string, names []string, defined map[string]bool) {
	t.Helper()
	for _, name := range names {
		if !defined[name] {
			t.Errorf("%s: %s does not exist", where, name)
		}
	}
}

// testsIn returns the tests that the package in dir defines.
func testsIn(t *testing.T, dir string) map[string]bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	must(t, err)
	defined := make(map[string]bool)
	for _, file := range files {
		for _, f := range regexp.MustCompile(`(?m)^func (Test\w+)\(`).FindAllStringSubmatch(read(t, file), -1) {
			defined[f[1]] = true
		}
	}
	return defined
}

// The doc of an adapter is short, refers to its docs/behaviour, and has a program
// that can be copied as it is.
func TestDocsOfAdaptersHaveAProgramThatCompiles(t *testing.T) {
	program := regexp.MustCompile(`(?m)^//\tpackage main\n(//(\t.*)?\n)+`)
	for _, dir := range adapters {
		doc := read(t, filepath.Join(dir, "doc.go"))
		if n := strings.Count(doc, "\n"); n > 61 {
			t.Errorf("the doc of %s has %d lines, want at most 60", dir, n-1)
		}
		if !strings.Contains(doc, "docs/behaviour/"+dir+".md") {
			t.Errorf("the doc of %s does not refer to docs/behaviour", dir)
		}
		code := regexp.MustCompile(`(?m)^//\t?`).ReplaceAllString(program.FindString(doc), "")
		if !strings.Contains(code, "func main() {") {
			t.Errorf("the doc of %s has no program", dir)
		}
		file := filepath.Join(t.TempDir(), "main.go")
		must(t, os.WriteFile(file, []byte(code), 0o600))
		if out, err := exec.CommandContext(t.Context(), "go", "vet", file).CombinedOutput(); err != nil {
			t.Errorf("the program in the doc of %s: %v\n%s", dir, err, out)
		}
	}
}

func read(t testing.TB, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	must(t, err)
	return string(b)
}
