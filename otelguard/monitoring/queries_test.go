package monitoring_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// pages are the texts that have queries for their readers to copy.
var pages = []string{"RUNBOOKS.md", "../../docs/tuning.md"}

// parses asks promtool whether queries, by where they stand, are PromQL, and
// returns what it says of those that are not. It reads queries only from rules.
func parses(t *testing.T, queries map[string]string) (out string, ok bool) {
	t.Helper()
	if len(queries) == 0 {
		t.Fatal("no queries")
	}
	type recording struct {
		Record string `json:"record"`
		Expr   string `json:"expr"`
	}
	type group struct {
		Name  string      `json:"name"`
		Rules []recording `json:"rules"`
	}
	var file struct {
		Groups []group `json:"groups"`
	}
	for where, expr := range queries {
		sum := "(" + expr + "\n) + 0" // a rule alone may be a range, which nothing can show
		file.Groups = append(file.Groups, group{where, []recording{{"query", sum}}})
	}
	text, err := json.Marshal(file) // which is YAML too
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "queries.yml")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	said, err := exec.CommandContext(t.Context(), tool(t, "promtool"), "check", "rules", "--lint=none", path).CombinedOutput()
	return string(said), err == nil
}

func TestOnlyPromQLParses(t *testing.T) {
	good := `sum by (job) (rate(x{y="z"}[5m])) / 2`
	if out, ok := parses(t, map[string]string{"good": good}); !ok {
		t.Errorf("%s is refused: %s", good, out)
	}
	for _, bad := range []string{`sum by (job) (rate(x{y="z"}[5m])`, `rate(x)`, `nosuchfunction(x)`, `x[5m]`, `$x`} {
		if out, ok := parses(t, map[string]string{"good": good, "bad": bad}); ok || !strings.Contains(out, `"bad"`) {
			t.Errorf("%s is accepted, or its place is not reported: %s", bad, out)
		}
	}
}

var (
	block  = regexp.MustCompile("(?ms)^```([a-z]*)\n(.*?\n)```$")
	inline = regexp.MustCompile("`([^`\n]+)`")
)

// queriesOf returns the queries of a page by their first lines: a line that is
// indented goes on with the one above.
func queriesOf(page string) map[string]string {
	queries := map[string]string{}
	for _, b := range block.FindAllStringSubmatch(page, -1) {
		if b[1] != "promql" {
			continue
		}
		first := ""
		for line := range strings.Lines(b[2]) {
			if !strings.HasPrefix(line, " ") {
				first = strings.TrimSpace(line)
			}
			queries[first] += line
		}
	}
	delete(queries, "")
	return queries
}

func TestQueriesOfAPageAreFound(t *testing.T) {
	got := queriesOf("`x`\n```promql\na\n  / b\nc\n```\n\n```\nd\n```\ne\n```promql\nf\n\n```\n")
	if want := "map[a:a\n  / b\n c:c\n f:f\n]"; fmt.Sprint(got) != want {
		t.Errorf("%q, want %q", fmt.Sprint(got), want)
	}
}

func TestPagesNameOnlyWhatOtelguardExports(t *testing.T) {
	s := known(t)
	for _, page := range pages {
		text := read(t, page)
		for first, expr := range queriesOf(text) {
			s.check(t, page+": "+first, expr)
		}
		for _, m := range inline.FindAllStringSubmatch(block.ReplaceAllString(text, ""), -1) {
			switch code := m[1]; {
			case strings.HasPrefix(code, "{"): // to be added to a series
				s.check(t, page, "jobguard_runs_active"+code)
			case !strings.HasPrefix(code, "jobguard_"):
			case strings.Contains(code, "{"):
				s.check(t, page, code)
			case s[code] == nil && s[code+"_bucket"] == nil && !s.anyHas(code):
				t.Errorf("%s names %s, neither a metric nor a label", page, code)
			}
		}
	}
}

func TestPromtoolAcceptsTheQueriesOfThePages(t *testing.T) {
	queries := map[string]string{}
	for _, page := range pages {
		for first, expr := range queriesOf(read(t, page)) {
			queries[page+": "+first] = expr
		}
	}
	if out, ok := parses(t, queries); !ok {
		t.Errorf("%s", out)
	}
}

func TestOnlyAlertsThatExistAreNamed(t *testing.T) {
	var there []string
	for _, a := range alerts(t) {
		there = append(there, a.Alert)
	}
	for _, page := range append(slices.Clone(pages), "dashboard.json") {
		for _, name := range regexp.MustCompile(`\bJobguard[A-Z][A-Za-z]+`).FindAllString(read(t, page), -1) {
			if !slices.Contains(there, name) {
				t.Errorf("%s names %s: there is no such alert", page, name)
			}
		}
	}
}
