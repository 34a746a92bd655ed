package guard_test

import (
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var goBlock = regexp.MustCompile("(?s)```go\n(.*?)```")

// Every Go block of README and docs is found in an example, so that all that newcomers
// copy has been compiled.
func TestSnippetsAreCompiled(t *testing.T) {
	var code string
	for _, pattern := range []string{"example*_test.go", "*/example*_test.go", "*/*/example*_test.go", "*/*/*/example*_test.go", "../otelguard/example*_test.go"} {
		files, err := filepath.Glob(pattern)
		must(t, err)
		for _, file := range files {
			code += squeeze(read(t, file))
		}
	}
	docs, err := filepath.Glob("../docs/*.md")
	must(t, err)
	blocks := 0
	for _, file := range append(docs, "../README.md", "../README.zh-CN.md") {
		for _, b := range goBlock.FindAllStringSubmatch(read(t, file), -1) {
			blocks++
			if !strings.Contains(code, squeeze(b[1])) {
				t.Errorf("%s: no example has\n%s", file, b[1])
			}
		}
	}
	if blocks < 12 {
		t.Errorf("found %d Go blocks", blocks)
	}
}

// squeeze forgets how code is indented.
func squeeze(code string) string { return strings.Join(strings.Fields(code), " ") }

func TestReadmeIsShort(t *testing.T) {
	if n := strings.Count(read(t, "../README.md"), "\n"); n > 120 {
		t.Errorf("the README has %d lines, more than 120", n)
	}
}

// The two READMEs have the same headings, code and links.
func TestReadmesAreEqual(t *testing.T) {
	english, chinese := read(t, "../README.md"), read(t, "../README.zh-CN.md")
	for what, part := range map[string]*regexp.Regexp{
		"headings":    regexp.MustCompile("(?m)^#+ "),
		"code blocks": regexp.MustCompile("(?s)```.*?```"),
		"links":       regexp.MustCompile(`\]\([^)]+\)`),
		"table rows":  regexp.MustCompile(`(?m)^\|`),
	} {
		a, b := part.FindAllString(english, -1), part.FindAllString(chinese, -1)
		if what == "links" { // their order is a matter of grammar
			slices.Sort(a)
			slices.Sort(b)
			a = slices.DeleteFunc(a, func(s string) bool { return strings.HasPrefix(s, "](README") })
			b = slices.DeleteFunc(b, func(s string) bool { return strings.HasPrefix(s, "](README") })
		}
		if !slices.Equal(a, b) {
			t.Errorf("%s differ:\n%q\n%q", what, a, b)
		}
	}
}

// Links between the documents lead to files that exist.
func TestLinksLeadToFiles(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#:]+)(#[^)]*)?\)`)
	files, err := filepath.Glob("../docs/*.md")
	must(t, err)
	more, err := filepath.Glob("../*.md")
	must(t, err)
	n := 0
	for _, file := range append(files, more...) {
		for _, l := range link.FindAllStringSubmatch(read(t, file), -1) {
			n++
			if found, err := filepath.Glob(filepath.Join(filepath.Dir(file), l[1])); err != nil || len(found) == 0 {
				t.Errorf("%s: %s does not exist", file, l[1])
			}
		}
	}
	if n < 50 {
		t.Errorf("found %d links", n)
	}
}
