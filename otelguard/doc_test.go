package otelguard_test

import (
	"go/ast"
	"go/doc/comment"
	"go/parser"
	"go/token"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/sdk/metric/metricdata"
)

// blocks are the code blocks of the package documentation.
func blocks(t *testing.T) (texts []string) {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), "doc.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range new(comment.Parser).Parse(f.Doc.Text()).Content {
		if code, is := b.(*comment.Code); is {
			texts = append(texts, code.Text)
		}
	}
	return texts
}

// What users copy from the documentation is what the compiler has seen.
func TestDocumentationShowsTheExamples(t *testing.T) {
	source, err := os.ReadFile("example_test.go")
	if err != nil {
		t.Fatal(err)
	}
	files := token.NewFileSet()
	f, err := parser.ParseFile(files, "example_test.go", source, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	shown, n := blocks(t), 0
	for _, d := range f.Decls {
		fn, is := d.(*ast.FuncDecl)
		if !is {
			continue
		}
		n++
		body := string(source[files.Position(fn.Body.Lbrace).Offset+2 : files.Position(fn.Body.Rbrace).Offset])
		body = strings.ReplaceAll("\n"+body, "\n\t", "\n")[1:]
		if !slices.Contains(shown, body) {
			t.Errorf("the package documentation has no block that reads\n%s", body)
		}
	}
	if n == 0 {
		t.Error("no examples")
	}
}

// The table of metrics has each with its type and unit.
func TestDocumentedMetricsAreThoseThereAre(t *testing.T) {
	tel := newTelemetry()
	everyEnd(t.Context(), tel, "orders")
	var there []string
	for name, m := range tel.metrics(t) {
		kind := "histogram"
		if sum, is := m.Data.(metricdata.Sum[int64]); is {
			kind = "updowncounter"
			if sum.IsMonotonic {
				kind = "counter"
			}
		}
		there = append(there, name+" "+kind+" "+m.Unit)
	}
	var told []string
	row := regexp.MustCompile(`(?m)^(jobguard\.[a-z._]+) +(histogram|counter|updowncounter) +(\S+)  +\S`)
	for _, m := range row.FindAllStringSubmatch(strings.Join(blocks(t), "\n"), -1) {
		told = append(told, strings.Join(m[1:], " "))
	}
	slices.Sort(there)
	slices.Sort(told)
	if !slices.Equal(there, told) {
		t.Errorf("there are\n%s\ndocumented\n%s", strings.Join(there, "\n"), strings.Join(told, "\n"))
	}
}
