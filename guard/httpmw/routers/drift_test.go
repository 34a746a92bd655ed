package routers

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The Go blocks of the section "Routers" of the documentation are, word for word,
// code of this module.
func TestSnippetsOfTheDocumentationAreTheTestedOnes(t *testing.T) {
	const want = 5 // chi has one line, gin and echo a function and a line
	files := make(map[string]string)
	for _, name := range []string{"chi_test.go", "gin_test.go", "echo_test.go"} {
		files[name] = read(t, name)
	}
	found := make(map[string]bool)
	all := snippets(t)
	for _, snippet := range all {
		in := ""
		for name, text := range files {
			if contains(text, snippet) {
				in = name
			}
		}
		if in == "" {
			t.Errorf("in no file here:\n%s", snippet)
		}
		found[in] = true
	}
	if len(all) != want {
		t.Errorf("%d snippets, want %d", len(all), want)
	}
	if names := slices.Collect(maps.Keys(found)); len(names) < len(files) {
		t.Errorf("snippets only of %q", names)
	}
}

// contains reports whether text has the lines of snippet in succession, all indented
// by the same number of tabs, up to three.
func contains(text, snippet string) bool {
	for range 4 {
		if strings.Contains(text, "\n"+snippet+"\n") {
			return true
		}
		snippet = "\t" + strings.ReplaceAll(snippet, "\n", "\n\t")
	}
	return false
}

// snippets returns the Go blocks of the section "Routers", split at blank lines.
func snippets(t *testing.T) (all []string) {
	t.Helper()
	_, section, found := strings.Cut(read(t, "../../../docs/behaviour/httpmw.md"), "\n## Routers\n")
	if !found {
		t.Fatal("there is no section \"Routers\"")
	}
	section, _, _ = strings.Cut(section, "\n## ")
	for _, block := range regexp.MustCompile("(?s)\n```go\n(.*?)\n```\n").FindAllStringSubmatch(section, -1) {
		all = append(all, strings.Split(block[1], "\n\n")...)
	}
	return all
}

func read(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
