package monitoring_test

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

// thirds is how many phases there are: at phase 0, samples are on the grid of the
// evaluations, as in rules_test.yml, at the others a third and two thirds of a scrape later.
const thirds = 3

// Real scrapes are never on the grid of the evaluations, and windows are open at the
// left from Prometheus 3 on. The file as it is, with all rules for every case, takes a
// minute of a processor: make test-prometheus3 has it pass.
func TestAlertsFireAndStaySilentWheneverSamplesAreTaken(t *testing.T) {
	for phase := range thirds {
		t.Run(fmt.Sprintf("phase %d of %d", phase, thirds), func(t *testing.T) {
			t.Parallel()
			promtool(t, append([]string{"test", "rules"}, shifted(t, phase)...)...)
		})
	}
}

// shifted writes the cases of rules_test.yml anew, with samples at the phase, and returns
// their paths. Each is in a file of its own, beside those rules that it is about: to
// evaluate all rules for a case of a day takes four times as long.
func shifted(t *testing.T, phase int) (paths []string) {
	t.Helper()
	var root yaml.Node
	parse(t, "rules_test.yml", &root)
	asText(&root)
	var file map[string]any
	if err := root.Decode(&file); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name string, content any) (path string) {
		text, err := yaml.Marshal(content)
		if err != nil {
			t.Fatal(err)
		}
		path = filepath.Join(dir, name)
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	about := ruleTests(t)
	for i, test := range file["tests"].([]any) {
		test := test.(map[string]any)
		interval, err := time.ParseDuration(test["interval"].(string))
		if err != nil {
			t.Fatal(err)
		}
		if phase > 0 {
			test["interval"] = (interval / thirds).String()
			for _, in := range test["input_series"].([]any) {
				in := in.(map[string]any)
				in["values"] = later(t, in["values"].(string), phase)
			}
		}
		file["tests"] = []any{test}
		file["rule_files"] = []string{write(fmt.Sprintf("rules%d.yml", i), rulesFor(t, about[i]))}
		paths = append(paths, write(fmt.Sprintf("case%d.yml", i), file))
	}
	return paths
}

// rulesFor is rules.yml with only the alerts of a case, the series that its expressions
// name, and the recorded series that these are made of.
func rulesFor(t *testing.T, test ruleTest) (file map[string]any) {
	t.Helper()
	wanted := map[string]bool{}
	var exprs []string
	for _, a := range test.Alerts {
		wanted[a.Name] = true
	}
	for _, e := range test.Exprs {
		exprs = append(exprs, e.Expr)
	}
	all := rules(t)
	for {
		for _, expr := range exprs {
			for _, s := range namesIn(expr).selectors {
				wanted[s.metric] = true
			}
		}
		before := len(exprs)
		all = slices.DeleteFunc(all, func(r rule) bool {
			if !wanted[r.Record+r.Alert] {
				return false
			}
			exprs = append(exprs, r.Expr)
			return true
		})
		if len(exprs) == before {
			break
		}
	}
	parse(t, "rules.yml", &file)
	for _, g := range file["groups"].([]any) {
		g := g.(map[string]any)
		g["rules"] = slices.DeleteFunc(g["rules"].([]any), func(r any) bool {
			for _, kind := range []string{"record", "alert"} {
				if name, ok := r.(map[string]any)[kind]; ok {
					return !wanted[name.(string)]
				}
			}
			return false
		})
	}
	return file
}

// asText lets values be text: YAML takes 0x20, twenty-one zeros, for a number.
func asText(n *yaml.Node) {
	for i, child := range n.Content {
		if n.Kind == yaml.MappingNode && i%2 == 1 && n.Content[i-1].Value == "values" {
			child.SetString(child.Value)
		}
		asText(child)
	}
}

var samples = regexp.MustCompile(`^(_|stale|-?[0-9.]+)(?:([+-])([0-9.]+))?(?:x([0-9]+))?$`)

// later spreads values, in promtool's notation, over a scale that is finer by thirds.
func later(t *testing.T, values string, phase int) string {
	t.Helper()
	var out []string
	put := func(v string) {
		for i := range thirds {
			if i == phase {
				out = append(out, v)
			} else {
				out = append(out, "_")
			}
		}
	}
	for word := range strings.FieldsSeq(values) {
		m := samples.FindStringSubmatch(word)
		if m == nil {
			t.Fatalf("%q is no sample", word)
		}
		times, _ := strconv.Atoi(m[4]) // "" is 0: once
		first, err := strconv.ParseFloat(m[1], 64)
		step, _ := strconv.ParseFloat(m[2]+m[3], 64) // "" is 0
		if err != nil {                              // _ and stale; of these x5 means five
			for range max(times, 1) {
				put(m[1])
			}
			continue
		}
		for i := range times + 1 {
			put(strconv.FormatFloat(first+float64(i)*step, 'g', -1, 64))
		}
	}
	return strings.Join(out, " ")
}

func TestSamplesAreShiftedAsPromtoolReadsThem(t *testing.T) {
	for values, want := range map[string]string{
		"1 2x1 stale": "_ 1 _ _ 2 _ _ 2 _ _ stale _",
		"_x2 0+1.5x2": "_ _ _ _ _ _ _ 0 _ _ 1.5 _ _ 3 _",
		"5-2x1 _":     "_ 5 _ _ 3 _ _ _ _",
	} {
		if got := later(t, values, 1); got != want {
			t.Errorf("%q becomes %q, want %q", values, got, want)
		}
	}
}

func TestRulesForACaseAreThoseItIsAbout(t *testing.T) {
	var test ruleTest
	if err := yaml.Unmarshal([]byte(`{alert_rule_test: [{alertname: JobguardQueueStuck}]}`), &test); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, g := range rulesFor(t, test)["groups"].([]any) {
		for _, r := range g.(map[string]any)["rules"].([]any) {
			r := r.(map[string]any)
			names = append(names, fmt.Sprint(cmp.Or(r["alert"], r["record"])))
		}
	}
	slices.Sort(names)
	want := []string{
		"JobguardQueueStuck", "job_jobguard_name:jobguard_acquired:increase1d",
		"job_jobguard_name:jobguard_waiters_active:max3m", "job_jobguard_name_jobguard_outcome:jobguard_acquires:seen5m",
	}
	if !slices.Equal(names, want) {
		t.Errorf("rules %q, want %q", names, want)
	}
}
