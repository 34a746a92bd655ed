package compose_test

import (
	"bytes"
	"context"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
	"go.yaml.in/yaml/v3"
)

// project is docker-compose.yml as Docker Compose understands it.
func project(t *testing.T) *types.Project {
	t.Helper()
	options, err := cli.NewProjectOptions([]string{"docker-compose.yml"}, cli.WithWorkingDirectory("."))
	if err != nil {
		t.Fatal(err)
	}
	p, err := options.LoadProject(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// mounted returns the file that a service sees under a path.
func mounted(t *testing.T, s types.ServiceConfig, path string) string {
	t.Helper()
	for _, v := range s.Volumes {
		if v.Target == path {
			return v.Source
		}
	}
	t.Fatalf("%s has no %s", s.Name, path)
	return ""
}

func unmarshal(t *testing.T, file string, v any) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(text, v); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
}

func TestServicesArePinnedAndForThisMachineOnly(t *testing.T) {
	p := project(t)
	if names := p.ServiceNames(); !slices.Equal(names, []string{"grafana", "postgres", "prometheus", "redis", "shop"}) {
		t.Errorf("services: %q", names)
	}
	for name, s := range p.Services {
		if !regexp.MustCompile(`:v?\d+\.\d+|:\d+-`).MatchString(s.Image) {
			t.Errorf("%s: the image %s has no version", name, s.Image)
		}
		for _, port := range s.Ports {
			if port.HostIP != "127.0.0.1" {
				t.Errorf("%s: port %s is open to %q", name, port.Published, port.HostIP)
			}
		}
		for _, v := range s.Volumes {
			if v.Type != types.VolumeTypeBind {
				continue
			}
			if _, err := os.Stat(v.Source); err != nil || !v.ReadOnly {
				t.Errorf("%s: %s: read only: %v, %v", name, v.Source, v.ReadOnly, err)
			}
		}
		for other, d := range s.DependsOn {
			if d.Condition == types.ServiceConditionHealthy && p.Services[other].HealthCheck == nil {
				t.Errorf("%s waits for the health of %s, which has no check", name, other)
			}
		}
	}
}

// The shop is started with flags that it has, and finds its servers.
func TestShopStartsOnTheServers(t *testing.T) {
	p := project(t)
	shop := p.Services["shop"]
	root := mounted(t, shop, shop.WorkingDir)
	if len(shop.Command) != 3 || !slices.Equal(shop.Command[:2], []string{"sh", "-c"}) {
		t.Fatalf("command: %q", shop.Command)
	}
	// exec lets signals reach the shop.
	m := regexp.MustCompile(`^go build -o (\S+) (\S+) && exec (\S+) (.+)$`).FindStringSubmatch(shop.Command[2])
	if len(m) != 5 || m[1] != m[3] {
		t.Fatalf("command: %q", shop.Command[2])
	}
	binary := filepath.Join(t.TempDir(), "inventory")
	build := exec.Command("go", "build", "-o", binary, m[2])
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	usage, err := exec.Command(binary, "-h").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, usage)
	}
	words, flags := strings.Fields(m[4]), map[string]string{}
	for i, word := range words {
		if !strings.HasPrefix(word, "-") {
			continue
		}
		if !bytes.Contains(usage, []byte("\n  "+word)) {
			t.Errorf("the shop has no flag %s", word)
		}
		flags[word] = append(words, "")[i+1]
	}
	db, err := url.Parse(flags["-db"])
	if err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{strings.Split(flags["-redis"], ":")[0], db.Hostname()} {
		if _, ok := p.Services[host]; !ok {
			t.Errorf("there is no service %q", host)
		}
		if _, ok := shop.DependsOn[host]; !ok {
			t.Errorf("the shop does not wait for %s", host)
		}
	}
	if len(shop.Ports) != 1 || flags["-listen"] != ":"+shop.Ports[0].Published {
		t.Errorf("listens on %s, published: %v", flags["-listen"], shop.Ports)
	}
}

// Prometheus accepts its configuration with the shipped rules, and scrapes the shop.
func TestPrometheusTakesTheRules(t *testing.T) {
	p := project(t)
	service, dir := p.Services["prometheus"], t.TempDir()
	for _, name := range []string{"prometheus.yml", "rules.yml"} {
		text, err := os.ReadFile(mounted(t, service, "/etc/prometheus/"+name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Fatal("this test needs promtool: apt-get install prometheus")
	}
	out, err := exec.Command(promtool, "check", "config", filepath.Join(dir, "prometheus.yml")).CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("1 rule files found")) {
		t.Errorf("promtool: %v\n%s", err, out)
	}
	var config struct {
		Scrape []struct {
			Honor  bool                         `yaml:"honor_labels"`
			Static []struct{ Targets []string } `yaml:"static_configs"`
		} `yaml:"scrape_configs"`
	}
	unmarshal(t, filepath.Join(dir, "prometheus.yml"), &config)
	if s := config.Scrape; len(s) != 1 || !s[0].Honor || s[0].Static[0].Targets[0] != "shop:"+p.Services["shop"].Ports[0].Published {
		t.Errorf("scrapes %+v", s)
	}
}

// Grafana asks Prometheus, and shows the shipped dashboard.
func TestGrafanaShowsTheDashboard(t *testing.T) {
	p := project(t)
	grafana := p.Services["grafana"]
	var sources struct{ Datasources []struct{ Type, URL string } }
	unmarshal(t, mounted(t, grafana, "/etc/grafana/provisioning/datasources/prometheus.yml"), &sources)
	if len(sources.Datasources) != 1 || sources.Datasources[0].URL != "http://prometheus:9090" || sources.Datasources[0].Type != "prometheus" {
		t.Errorf("data sources: %+v", sources)
	}
	var dashboards struct {
		Providers []struct {
			Type    string
			Options struct{ Path string }
		}
	}
	unmarshal(t, mounted(t, grafana, "/etc/grafana/provisioning/dashboards/jobguard.yml"), &dashboards)
	if len(dashboards.Providers) != 1 || dashboards.Providers[0].Type != "file" {
		t.Fatalf("dashboards: %+v", dashboards)
	}
	home := grafana.Environment["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
	if home == nil || filepath.Dir(*home) != dashboards.Providers[0].Options.Path {
		t.Fatalf("home: %v", home)
	}
	if source := mounted(t, grafana, *home); filepath.Base(source) != "dashboard.json" {
		t.Errorf("the dashboard is %s", source)
	}
}
