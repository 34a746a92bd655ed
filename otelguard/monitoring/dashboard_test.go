package monitoring_test

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"
)

type panel struct {
	ID          int
	Type, Title string
	Datasource  struct{ Type, UID string }
	GridPos     struct{ X, Y, W, H int }
	Targets     []struct {
		RefID      string
		Expr       string
		Exemplar   bool
		Range      bool
		Datasource struct{ Type, UID string }
	}
}

type dashboard struct {
	Title         string
	SchemaVersion int
	Panels        []panel
	Templating    struct {
		List []struct {
			Name, Type, Definition string
			Query                  any
		}
	}
}

func theDashboard(t *testing.T) (d dashboard) {
	t.Helper()
	if err := json.Unmarshal([]byte(read(t, "dashboard.json")), &d); err != nil {
		t.Fatalf("dashboard.json: %v", err)
	}
	if len(d.Panels) == 0 {
		t.Fatal("dashboard.json has no panels")
	}
	return d
}

// expressions calls f with every expression of the dashboard, and says where it is.
func (d dashboard) expressions(f func(where, expr string)) {
	for _, p := range d.Panels {
		for _, target := range p.Targets {
			f("panel "+p.Title+" "+target.RefID, target.Expr)
		}
	}
}

// filled is an expression as Grafana asks it.
func filled(expr string) string {
	return strings.NewReplacer("$__rate_interval", "1m", "$__range", "5m", "$job", ".*", "$name", ".*").Replace(expr)
}

func TestPromtoolAcceptsTheDashboardsQueries(t *testing.T) {
	queries := map[string]string{}
	theDashboard(t).expressions(func(where, expr string) { queries[where] = filled(expr) })
	if out, ok := parses(t, queries); !ok {
		t.Errorf("%s", out)
	}
}

func TestDashboardShowsExemplarsOfHistogramsAlone(t *testing.T) {
	for _, p := range theDashboard(t).Panels {
		for _, target := range p.Targets {
			if want := target.Range && strings.Contains(target.Expr, "_bucket{"); target.Exemplar != want {
				t.Errorf("panel %q %s: exemplar is %v, want %v", p.Title, target.RefID, target.Exemplar, want)
			}
		}
	}
}

func TestDashboardNamesOnlyWhatOtelguardExports(t *testing.T) {
	s, d := exported(t), theDashboard(t)
	d.expressions(func(where, expr string) { s.check(t, where, expr) })

	values := regexp.MustCompile(`^label_values\((.+), ([a-z_]+)\)$`)
	for _, v := range d.Templating.List {
		if v.Type != "query" {
			continue
		}
		m := values.FindStringSubmatch(v.Definition)
		if m == nil {
			t.Errorf("variable %s is not label_values(metric, label): %s", v.Name, v.Definition)
			continue
		}
		s.check(t, "variable "+v.Name, m[1])
		if !s.anyHas(m[2]) {
			t.Errorf("variable %s takes values of %s, a label that otelguard does not export", v.Name, m[2])
		}
	}
}

func TestDashboardShowsEveryMetric(t *testing.T) {
	shown := map[string]bool{}
	family := func(name string) string {
		for _, suffix := range []string{"_bucket", "_sum", "_count"} {
			name = strings.TrimSuffix(name, suffix)
		}
		return name
	}
	theDashboard(t).expressions(func(_, expr string) {
		for _, s := range namesIn(expr).selectors {
			shown[family(s.metric)] = true
		}
	})
	for name := range exported(t) {
		if strings.HasPrefix(name, "jobguard_") && !shown[family(name)] {
			t.Errorf("no panel shows %s", name)
		}
	}
}

func TestDashboardIsWholeAndFollowsItsVariables(t *testing.T) {
	d := theDashboard(t)
	if d.SchemaVersion != 42 { // the last of this form of dashboards
		t.Errorf("schemaVersion %d, want 42", d.SchemaVersion)
	}
	variables := map[string]string{}
	for _, v := range d.Templating.List {
		variables[v.Name] = v.Type
	}
	for name, kind := range map[string]string{"datasource": "datasource", "job": "query", "name": "query"} {
		if variables[name] != kind {
			t.Errorf("variable %s is of type %q, want %q", name, variables[name], kind)
		}
	}

	ids, titles := map[int]bool{}, map[string]bool{}
	for i, p := range d.Panels {
		if ids[p.ID] || p.ID == 0 {
			t.Errorf("panel %q has id %d, which is not its own", p.Title, p.ID)
		}
		ids[p.ID], titles[p.Title] = true, true
		for _, q := range d.Panels[:i] {
			if p.overlaps(q) {
				t.Errorf("panels %q and %q lie on each other", p.Title, q.Title)
			}
		}
		if p.Type != "row" {
			p.checkTargets(t)
		}
	}

	for _, m := range regexp.MustCompile(`[^*]\*([A-Z][^*]*)\*[^*]`).FindAllStringSubmatch(read(t, "RUNBOOKS.md"), -1) {
		if title := strings.Join(strings.Fields(m[1]), " "); !titles[title] {
			t.Errorf("RUNBOOKS.md sends its readers to panel %q, which there is not", title)
		}
	}
}

func (p panel) checkTargets(t *testing.T) {
	t.Helper()
	if len(p.Targets) == 0 {
		t.Errorf("panel %q shows nothing", p.Title)
	}
	if p.Datasource.UID != "${datasource}" {
		t.Errorf("panel %q takes data from %q and not from the one chosen", p.Title, p.Datasource.UID)
	}
	for _, target := range p.Targets {
		if target.Datasource.UID != "${datasource}" {
			t.Errorf("panel %q %s takes data from %q and not from the one chosen", p.Title, target.RefID, target.Datasource.UID)
		}
		for _, s := range namesIn(target.Expr).selectors {
			follows := map[string]string{}
			for _, m := range s.matchers {
				follows[m.label] = m.op + m.value
			}
			if follows["job"] != "=~$job" || follows["jobguard_name"] != "=~$name" {
				t.Errorf("panel %q %s: %s does not follow the variables job and name", p.Title, target.RefID, s.metric)
			}
		}
	}
}

func (p panel) overlaps(q panel) bool {
	a, b := p.GridPos, q.GridPos
	return a.X < b.X+b.W && b.X < a.X+a.W && a.Y < b.Y+b.H && b.Y < a.Y+a.H
}
