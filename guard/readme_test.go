package guard_test

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestReadmeSnippetsAreCompiled finds every Go block of the README in an
// example of guard or of an adapter, so that all that newcomers copy has been compiled.
func TestReadmeSnippetsAreCompiled(t *testing.T) {
	readme := read(t, "../README.md")
	files, err := filepath.Glob("*/example_test.go")
	must(t, err)
	own, err := filepath.Glob("example*_test.go")
	must(t, err)
	var code string
	for _, file := range append(files, own...) {
		code += squeeze(read(t, file))
	}
	blocks := regexp.MustCompile("(?s)```go\n(.*?)```").FindAllStringSubmatch(readme, -1)
	if len(blocks) < 5 {
		t.Fatalf("found %d Go blocks", len(blocks))
	}
	for _, b := range blocks {
		if !strings.Contains(code, squeeze(b[1])) {
			t.Errorf("no example has\n%s", b[1])
		}
	}
	if n := strings.Count(readme, "\n"); n > 250 {
		t.Errorf("the README has %d lines, more than 250", n)
	}
}

// squeeze forgets how code is indented.
func squeeze(code string) string { return strings.Join(strings.Fields(code), " ") }
