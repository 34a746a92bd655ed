package monitoring_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

// A selector is one place where an expression names a metric.
type selector struct {
	metric   string
	matchers []matcher
}

type matcher struct{ label, op, value string }

// An expression is what is named in one of PromQL: enough to compare it with what
// is exported. Whether it is PromQL at all, promtool and Prometheus judge.
type expression struct {
	selectors []selector
	labels    []string // in by, without, on, ignoring, group_left, group_right
}

var (
	token = regexp.MustCompile(`^(?:` + strings.Join([]string{
		`(?P<space>\s+|#[^\n]*)`,
		`(?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')`,
		`(?P<number>[0-9.][0-9A-Za-z_.]*)`,
		`(?P<window>\[[^\]]*\])`,
		`(?P<name>[A-Za-z_:][A-Za-z0-9_:]*)`,
		`(?P<op>=~|!~|!=|.)`,
	}, "|") + `)`)
	kinds = token.SubexpNames()

	grouping  = []string{"by", "without", "on", "ignoring", "group_left", "group_right"}
	operators = []string{"and", "or", "unless", "bool", "offset", "atan2", "inf", "nan"}
	// Functions are followed by a parenthesis; these also by a grouping.
	aggregations = []string{
		"sum", "min", "max", "avg", "count", "group", "stddev", "stdvar", "quantile", "topk", "bottomk", "count_values",
	}
)

type lexeme struct{ kind, text string }

func lex(expr string) (tokens []lexeme) {
	for expr != "" {
		m := token.FindStringSubmatch(expr)
		for i, kind := range kinds {
			if kind != "" && m[i] != "" && kind != "space" && kind != "window" {
				tokens = append(tokens, lexeme{kind, m[i]})
			}
		}
		expr = expr[len(m[0]):]
	}
	return append(tokens, lexeme{}) // so that there is always a next one
}

// namesIn finds what expr names.
func namesIn(expr string) (e expression) {
	tokens := lex(expr)
	for i := 0; i < len(tokens); i++ {
		this := tokens[i]
		switch {
		case this.text == "{" && len(e.selectors) > 0:
			s := &e.selectors[len(e.selectors)-1]
			for ; i < len(tokens) && tokens[i].text != "}"; i++ {
				if tokens[i].kind == "name" && i+2 < len(tokens) {
					value := tokens[i+2].text
					s.matchers = append(s.matchers, matcher{tokens[i].text, tokens[i+1].text, strings.Trim(value, `"'`)})
				}
			}
		case this.kind != "name" || slices.Contains(operators, strings.ToLower(this.text)):
		case slices.Contains(grouping, this.text):
			for ; i < len(tokens) && tokens[i].text != ")"; i++ {
				if tokens[i].kind == "name" && !slices.Contains(grouping, tokens[i].text) {
					e.labels = append(e.labels, tokens[i].text)
				}
			}
		case tokens[i+1].text == "(" || slices.Contains(aggregations, this.text):
		default:
			e.selectors = append(e.selectors, selector{metric: this.text})
		}
	}
	return e
}

func TestWhatAnExpressionNamesIsFound(t *testing.T) {
	e := namesIn(`
		# not_a_metric
		histogram_quantile(0.99, sum by (job, le) (rate(a_bucket{x="1", y=~"p|q"}[5m] offset 1h))) > bool 0.5
		and on (job) level:b:rate5m{z!='not_a_metric{}'} or vector(1e3) / avg(c) unless d`)
	var metrics []string
	for _, s := range e.selectors {
		metrics = append(metrics, s.metric)
	}
	if want := []string{"a_bucket", "level:b:rate5m", "c", "d"}; !slices.Equal(metrics, want) {
		t.Errorf("metrics %q, want %q", metrics, want)
	}
	if want := []matcher{{"x", "=", "1"}, {"y", "=~", "p|q"}}; !slices.Equal(e.selectors[0].matchers, want) {
		t.Errorf("matchers of the first %q, want %q", e.selectors[0].matchers, want)
	}
	if want := []matcher{{"z", "!=", "not_a_metric{}"}}; !slices.Equal(e.selectors[1].matchers, want) {
		t.Errorf("matchers of the second %q, want %q", e.selectors[1].matchers, want)
	}
	if want := []string{"job", "le", "job"}; !slices.Equal(e.labels, want) {
		t.Errorf("labels %q, want %q", e.labels, want)
	}
}
