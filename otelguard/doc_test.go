package otelguard_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/sdk/metric/metricdata"
)

// page is what documents this package.
func page(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../docs/behaviour/otelguard.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
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
	shown, n := page(t), 0
	for _, d := range f.Decls {
		fn, is := d.(*ast.FuncDecl)
		if !is {
			continue
		}
		n++
		body := string(source[files.Position(fn.Body.Lbrace).Offset+2 : files.Position(fn.Body.Rbrace).Offset])
		body = strings.ReplaceAll("\n"+body, "\n\t", "\n")[1:]
		if !strings.Contains(shown, "\n```go\n"+body+"```\n") {
			t.Errorf("the page has no block that reads\n%s", body)
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
		switch data := m.Data.(type) {
		case metricdata.Sum[int64]:
			kind = "updowncounter"
			if data.IsMonotonic {
				kind = "counter"
			}
		case metricdata.Gauge[int64], metricdata.Gauge[float64]:
			kind = "gauge"
		}
		there = append(there, name+" "+kind+" "+m.Unit)
	}
	var inPage []string
	row := regexp.MustCompile("(?m)^\\| `(jobguard\\.[a-z._]+)` \\| (histogram|counter|updowncounter|gauge) \\| (\\S+) \\| \\S")
	for _, m := range row.FindAllStringSubmatch(page(t), -1) {
		inPage = append(inPage, strings.Join(m[1:], " "))
	}
	slices.Sort(there)
	slices.Sort(inPage)
	if !slices.Equal(there, inPage) {
		t.Errorf("there are\n%s\ndocumented\n%s", strings.Join(there, "\n"), strings.Join(inPage, "\n"))
	}
}

// The table of attributes has all that the code defines, and no others.
func TestDocumentedAttributesAreThoseThereAre(t *testing.T) {
	source, err := os.ReadFile("attribute.go")
	if err != nil {
		t.Fatal(err)
	}
	there := []string{"error.type"} // by its name in the conventions
	for _, m := range regexp.MustCompile(`attribute\.Key\("(.+)"\)`).FindAllSubmatch(source, -1) {
		there = append(there, string(m[1]))
	}
	names := regexp.MustCompile("`((?:jobguard|error)\\.[a-z_]+)`") // of metrics and events, there is a dot more
	var inPage []string
	for line := range strings.Lines(page(t)) {
		if !strings.HasPrefix(line, "| ") {
			continue
		}
		for _, m := range names.FindAllStringSubmatch(line, -1) {
			inPage = append(inPage, m[1])
		}
	}
	slices.Sort(there)
	slices.Sort(inPage)
	inPage = slices.Compact(inPage)
	if !slices.Equal(there, inPage) {
		t.Errorf("there are\n%s\ndocumented\n%s", strings.Join(there, "\n"), strings.Join(inPage, "\n"))
	}
}

// Each test or benchmark that the page names is in this package.
func TestDocumentedTestsExist(t *testing.T) {
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	var tests strings.Builder
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		tests.Write(text)
	}
	named := regexp.MustCompile("`((?:Test|Benchmark)[A-Za-z0-9]+)`").FindAllStringSubmatch(page(t), -1)
	if len(named) == 0 {
		t.Error("no test is named")
	}
	for _, m := range named {
		if !strings.Contains(tests.String(), "\nfunc "+m[1]+"(") {
			t.Errorf("no test is called %s", m[1])
		}
	}
}
