package monitoring_test

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// runbooks is where runbook links lead, before the anchor.
const runbooks = "https://github.com/jobguard/jobguard/blob/main/otelguard/monitoring/RUNBOOKS.md"

type rule struct {
	Record, Alert, Expr string
	For                 *string
	Labels, Annotations map[string]string
}

func rules(t *testing.T) (rules []rule) {
	t.Helper()
	var file struct{ Groups []struct{ Rules []rule } }
	parse(t, "rules.yml", &file)
	for _, g := range file.Groups {
		rules = append(rules, g.Rules...)
	}
	if len(rules) == 0 {
		t.Fatal("rules.yml has no rules")
	}
	return rules
}

func alerts(t *testing.T) (alerts []rule) {
	t.Helper()
	for _, r := range rules(t) {
		if r.Alert != "" {
			alerts = append(alerts, r)
		}
	}
	return alerts
}

// level is what a recorded series has for labels, nil for an alert: those that its
// expression groups by, but for the buckets that it makes quantiles of.
func (r rule) level() (labels []string) {
	if r.Record == "" {
		return nil
	}
	quantile := strings.Contains(r.Expr, "histogram_quantile(")
	for _, label := range namesIn(r.Expr).labels {
		if quantile && label == "le" || slices.Contains(labels, label) {
			continue
		}
		labels = append(labels, label)
	}
	return labels
}

// A ruleTest is one case of rules_test.yml.
type ruleTest struct {
	Name        string
	InputSeries []struct{ Series string } `yaml:"input_series"`
	Alerts      []struct {
		Name     string `yaml:"alertname"`
		Expected []any  `yaml:"exp_alerts"`
	} `yaml:"alert_rule_test"`
	Exprs []struct{ Expr string } `yaml:"promql_expr_test"`
}

func ruleTests(t *testing.T) []ruleTest {
	t.Helper()
	var file struct{ Tests []ruleTest }
	parse(t, "rules_test.yml", &file)
	return file.Tests
}

func parse(t *testing.T, name string, into any) {
	t.Helper()
	if err := yaml.Unmarshal([]byte(read(t, name)), into); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

func TestPromtoolAcceptsTheRules(t *testing.T) {
	promtool(t, "check", "rules", "--lint=all", "--lint-fatal", "rules.yml")
}

func TestEveryAlertHasACaseThatFiresAndOneThatStaysSilent(t *testing.T) {
	fires, silent := map[string]bool{}, map[string]bool{}
	for _, test := range ruleTests(t) {
		here := map[string]bool{}
		for _, a := range test.Alerts {
			here[a.Name] = here[a.Name] || len(a.Expected) > 0
		}
		for name, fired := range here {
			fires[name] = fires[name] || fired
			silent[name] = silent[name] || !fired
		}
	}
	for _, a := range alerts(t) {
		if !fires[a.Alert] {
			t.Errorf("no case of rules_test.yml has %s fire", a.Alert)
		}
		if !silent[a.Alert] {
			t.Errorf("no case of rules_test.yml has %s stay silent throughout", a.Alert)
		}
	}
}

func TestRecordedSeriesAreNamedLevelMetricOperation(t *testing.T) {
	rest := regexp.MustCompile(`^:jobguard_[a-z_]+:[a-z0-9_]+$`)
	for _, r := range rules(t) {
		level := strings.Join(r.level(), "_")
		if r.Record != "" && !rest.MatchString(strings.TrimPrefix(r.Record, level)) {
			t.Errorf("%s is not of the form level:metric:operation with level %s", r.Record, level)
		}
	}
}

func TestEveryAlertSaysHowBadWhatAndWhereToLook(t *testing.T) {
	sections := map[string]bool{} // anchor of each alert's section, false until an alert links to it
	for _, m := range regexp.MustCompile(`(?m)^## (.+)$`).FindAllStringSubmatch(read(t, "RUNBOOKS.md"), -1) {
		sections[strings.ToLower(m[1])] = false
	}
	for _, a := range alerts(t) {
		if !slices.Contains([]string{"critical", "warning", "info"}, a.Labels["severity"]) {
			t.Errorf("%s has severity %q", a.Alert, a.Labels["severity"])
		}
		if a.For == nil {
			t.Errorf("%s does not say for how long", a.Alert)
		}
		for _, annotation := range []string{"summary", "description"} {
			if a.Annotations[annotation] == "" {
				t.Errorf("%s has no %s", a.Alert, annotation)
			}
		}
		link := a.Annotations["runbook_url"]
		anchor, ok := strings.CutPrefix(link, runbooks+"#")
		if _, exists := sections[anchor]; !ok || !exists {
			t.Errorf("%s links to %q: no such section in RUNBOOKS.md", a.Alert, link)
		}
		if !strings.EqualFold(anchor, a.Alert) {
			t.Errorf("%s links to the section of another alert: %s", a.Alert, link)
		}
		sections[anchor] = true
		severity := "**Severity: " + a.Labels["severity"] + ".**"
		if !strings.Contains(read(t, "RUNBOOKS.md"), "## "+a.Alert+"\n\n"+severity) {
			t.Errorf("the section of %s does not begin with %s", a.Alert, severity)
		}
	}
	for anchor, linked := range sections {
		if !linked {
			t.Errorf("no alert links to section %s of RUNBOOKS.md", anchor)
		}
	}
}

func TestRulesNameOnlyWhatOtelguardExports(t *testing.T) {
	s := known(t)
	for _, r := range rules(t) {
		s.check(t, "rule "+r.Record+r.Alert, r.Expr)
	}
}

func TestRuleTestsNameOnlyWhatOtelguardExports(t *testing.T) {
	s, there := known(t), map[string]bool{}
	for _, a := range alerts(t) {
		there[a.Alert] = true
	}
	for i, test := range ruleTests(t) {
		where := fmt.Sprintf("rules_test.yml, case %d (%s)", i+1, test.Name)
		for _, in := range test.InputSeries {
			s.check(t, where, in.Series)
		}
		for _, e := range test.Exprs {
			s.check(t, where, e.Expr)
		}
		for _, a := range test.Alerts {
			if !there[a.Name] { // promtool takes an unknown alert for a silent one
				t.Errorf("%s: there is no alert %s", where, a.Name)
			}
		}
	}
}
