package guard_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var goBlock = regexp.MustCompile("(?s)```go\n(.*?)```")

// Every Go block of README and docs is closed, and found in code that is compiled, mostly
// an example: so newcomers can copy it.
func TestSnippetsAreCompiled(t *testing.T) {
	var code string
	for _, pattern := range []string{"example*_test.go", "*/example*_test.go", "*/*/example*_test.go", "*/*/*/example*_test.go",
		"../otelguard/example*_test.go", "../otelguard/fleet_test.go", "../examples/inventory/example*_test.go", "httpmw/routers/*_test.go"} {
		files, err := filepath.Glob(pattern)
		must(t, err)
		for _, file := range files {
			code += squeeze(read(t, file))
		}
	}
	blocks := 0
	for _, pattern := range []string{"../*.md", "../docs/*.md", "../docs/*/*.md", "../*/*.md", "../*/*/*.md"} {
		files, err := filepath.Glob(pattern)
		must(t, err)
		for _, file := range files {
			for _, block := range goBlock.FindAllStringSubmatch(read(t, file), -1) {
				blocks++
				for _, part := range parts(block[1]) {
					if !strings.Contains(code, squeeze(part)) {
						t.Errorf("%s: no example has\n%s", file, part)
					}
					if err := closed(part); err != nil {
						t.Errorf("%s: %v in\n%s", file, err, part)
					}
				}
			}
		}
	}
	if blocks < 24 {
		t.Errorf("found %d Go blocks", blocks)
	}
}

var (
	docBlock = regexp.MustCompile(`(?m)(?:^//\t.*\n(?://\n)*)+`)
	docMark  = regexp.MustCompile(`(?m)^//\t?`)
	omission = regexp.MustCompile(`(?m)^(?:\.\.\.|…)$`)
	comment  = regexp.MustCompile(`(?m)\s*//.*$`)
	isGo     = regexp.MustCompile(`:= |\bfunc ?\(|\bgo \w+\.`)
)

// The Go code in the docs of packages and symbols is found in a test or an example, up to
// comments, between the places where it says that something is left out. A program is vetted
// as a whole; what stands for a reader's own store or log is not there to be compiled.
func TestCodeInDocsOfPackagesIsCompiled(t *testing.T) {
	var docs []string
	var code strings.Builder
	must(t, filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "testdata" || d.Name() == "internal" || len(d.Name()) > 2 && d.Name()[0] == '.'):
			return fs.SkipDir
		case strings.HasSuffix(path, "_test.go"):
			code.WriteString(squeeze(comment.ReplaceAllString(read(t, path), "")) + "\n")
		case strings.HasSuffix(path, ".go"):
			docs = append(docs, path)
		}
		return nil
	}))
	blocks := 0
	for _, file := range docs {
		for _, block := range docBlock.FindAllString(read(t, file), -1) {
			block = docMark.ReplaceAllString(block, "")
			if !isGo.MatchString(block) || strings.Contains(block, "package main") || strings.Contains(block, "mystore.") || strings.Contains(block, "mylog.") {
				continue
			}
			blocks++
			for _, part := range omission.Split(block, -1) {
				if part = squeeze(comment.ReplaceAllString(part, "")); !strings.Contains(code.String(), part) {
					t.Errorf("%s: no test has\n%s", file, part)
				}
			}
		}
	}
	if blocks < 8 {
		t.Errorf("found %d blocks of Go", blocks)
	}
}

// parts divides a block after each function that it declares.
func parts(block string) []string { return strings.SplitAfter(block, "\n}\n\n") }

// closed returns an error if code is neither a declaration nor statements that stand by themselves.
func closed(code string) error {
	if !strings.Contains(code, "\nfunc ") && !strings.HasPrefix(code, "func ") {
		code = "func _() {\n" + code + "\n}"
	}
	_, err := parser.ParseFile(token.NewFileSet(), "", "package p\n"+code, parser.SkipObjectResolution)
	return err
}

// squeeze forgets how code is indented.
func squeeze(code string) string { return strings.Join(strings.Fields(code), " ") }

func TestReadmesAreShort(t *testing.T) {
	for _, file := range []string{"../README.md", "../README.zh-CN.md"} {
		if n := strings.Count(read(t, file), "\n"); n > 120 {
			t.Errorf("%s has %d lines, more than 120", file, n)
		}
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

// Links between the documents lead to files that exist, and to headings in them.
func TestLinksLeadToFilesAndHeadings(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#:\s]*)(?:#([^)]*))?\)`)
	n := 0
	must(t, filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "testdata" || len(d.Name()) > 2 && d.Name()[0] == '.'):
			return fs.SkipDir
		case filepath.Ext(path) != ".md":
			return nil
		}
		for _, l := range link.FindAllStringSubmatch(read(t, path), -1) {
			n++
			to := path
			if l[1] != "" {
				to = filepath.Join(filepath.Dir(path), l[1])
			}
			if _, err := os.Stat(to); err != nil {
				t.Errorf("%s: %s does not exist", path, l[1])
			} else if l[2] != "" && !slices.Contains(anchors(read(t, to)), l[2]) {
				t.Errorf("%s: %s has no heading #%s", path, to, l[2])
			}
		}
		return nil
	}))
	if n < 150 {
		t.Errorf("found %d links", n)
	}
}

var (
	heading   = regexp.MustCompile("(?m)^#+ (.*)$")
	linkText  = regexp.MustCompile(`\[([^]]*)\]\([^)]*\)`)
	dropped   = regexp.MustCompile(`[^\p{L}\p{N}_ -]`)
	separator = strings.NewReplacer(" ", "-")
)

// anchors are the ids that GitHub gives to the headings of a document.
func anchors(text string) (ids []string) {
	for _, h := range heading.FindAllStringSubmatch(text, -1) {
		words := dropped.ReplaceAllString(linkText.ReplaceAllString(h[1], "$1"), "")
		ids = append(ids, separator.Replace(strings.ToLower(words)))
	}
	return ids
}
