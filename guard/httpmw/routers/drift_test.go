package routers

import (
	"go/doc/comment"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
)

// TestSnippetsOfTheDocumentationAreTheTestedOnes holds that every piece of code in
// the section "Routers" stands word for word in one of the files here.
func TestSnippetsOfTheDocumentationAreTheTestedOnes(t *testing.T) {
	const want = 5 // chi has one line, gin and echo a function and a line
	files := make(map[string]string)
	for _, name := range []string{"chi_test.go", "gin_test.go", "echo_test.go"} {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		files[name] = string(b)
	}
	found := make(map[string]bool)
	all := snippets(t)
	for _, snippet := range all {
		in := ""
		for name, text := range files {
			if contains(snippet, text) {
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

// stands reports whether snippet is a run of whole lines of text, each as deep as
// the other.
func contains(snippet, text string) bool {
	for range 4 {
		if strings.Contains(text, "\n"+snippet+"\n") {
			return true
		}
		snippet = "\t" + strings.ReplaceAll(snippet, "\n", "\n\t")
	}
	return false
}

// snippets returns the code of the section "Routers", cut at blank lines.
func snippets(t *testing.T) (all []string) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "../doc.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	var p comment.Parser
	inside := false
	for _, block := range p.Parse(file.Doc.Text()).Content {
		switch block := block.(type) {
		case *comment.Heading:
			inside = slices.Equal(block.Text, []comment.Text{comment.Plain("Routers")})
		case *comment.Code:
			if inside {
				all = append(all, strings.Split(strings.TrimSuffix(block.Text, "\n"), "\n\n")...)
			}
		}
	}
	return all
}
