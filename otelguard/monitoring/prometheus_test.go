package monitoring_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"testing"
	"time"
)

// scrapeEvery is also how often rules are evaluated. The rules' own `for` and
// windows are used as they are: JobguardLeaseLost fires at the first evaluation.
const scrapeEvery = 500 * time.Millisecond

// A server is one real Prometheus.
type server struct {
	t      *testing.T
	url    string
	client *http.Client
}

// listening is what Prometheus 2 and 3 print when they listen.
var listening = regexp.MustCompile(`msg="Listening on".* address=(\S+)`)

func TestBothVersionsOfPrometheusSayWhereTheyListen(t *testing.T) {
	for _, line := range []string{ // of 2.42.0 and 3.5.0
		`ts=2026-11-28T09:51:10.261Z caller=tls_config.go:232 level=info component=web msg="Listening on" address=127.0.0.1:9090`,
		`time=2026-11-28T09:51:10.261Z level=INFO source=tls_config.go:347 msg="Listening on" component=web address=127.0.0.1:9090`,
	} {
		if m := listening.FindStringSubmatch(line); len(m) != 2 || m[1] != "127.0.0.1:9090" {
			t.Errorf("%q in %s", m, line)
		}
	}
}

// startPrometheus starts a Prometheus with rules.yml on a free port of 127.0.0.1
// that scrapes target. It is stopped when the test ends.
func startPrometheus(t *testing.T, target string) *server {
	t.Helper()
	rules, err := filepath.Abs("rules.yml")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	config, err := json.Marshal(map[string]any{ // which is YAML too
		"global":     map[string]any{"scrape_interval": scrapeEvery.String(), "evaluation_interval": scrapeEvery.String()},
		"rule_files": []string{rules},
		"scrape_configs": []any{map[string]any{
			"job_name":       "shop",
			"static_configs": []any{map[string]any{"targets": []string{target}}},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "prometheus.yml")
	if err := os.WriteFile(path, config, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(tool(t, "prometheus"),
		"--config.file="+path, "--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address=127.0.0.1:0")
	addr := launch(t, listening, cmd)

	s := &server{t: t, url: "http://" + addr, client: &http.Client{
		Transport: &http.Transport{DisableKeepAlives: true}, // so that nothing is left behind
		Timeout:   patience,
	}}
	eventually(t, "Prometheus is ready", func() bool {
		resp, err := s.client.Get(s.url + "/-/ready")
		if err != nil {
			return false
		}
		_ = resp.Body.Close() // nothing was asked for but the status
		return resp.StatusCode == http.StatusOK
	})
	return s
}

// get asks the HTTP API and reads the data of the answer.
func (s *server) get(path string, data any) {
	s.t.Helper()
	resp, err := s.client.Get(s.url + path)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }() // it has been read
	answer := struct {
		Status, Error string
		Data          any
	}{Data: data}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		s.t.Fatalf("GET %s: %v", path, err)
	}
	if answer.Status != "success" {
		s.t.Fatalf("GET %s: %s", path, answer.Error)
	}
}

// A sample is one series of an answer, with its value now.
type sample struct {
	Metric map[string]string
	Value  [2]any // time, value
}

// query evaluates expr now.
func (s *server) query(expr string) []sample {
	s.t.Helper()
	var data struct{ Result []sample }
	s.get("/api/v1/query?query="+url.QueryEscape(expr), &data)
	return data.Result
}

// value returns the one value that expr has, and false if it has none yet.
func (s *server) value(expr string) (v float64, ok bool) {
	s.t.Helper()
	samples := s.query(expr)
	switch len(samples) {
	case 0:
		return 0, false
	case 1:
		v, err := strconv.ParseFloat(fmt.Sprint(samples[0].Value[1]), 64)
		if err != nil {
			s.t.Fatalf("%s: %v", expr, err)
		}
		return v, true
	}
	s.t.Fatalf("%s: %d series, want one: %v", expr, len(samples), samples)
	return 0, false
}

type alert struct {
	Labels, Annotations map[string]string
	State               string
}

// firing returns the alerts that fire. Others may be pending: a busy machine
// renews late, for a moment.
func (s *server) firing() []alert {
	s.t.Helper()
	var data struct{ Alerts []alert }
	s.get("/api/v1/alerts", &data)
	return slices.DeleteFunc(data.Alerts, func(a alert) bool { return a.State != "firing" })
}

// An evaluation is a rule and how its last evaluation went.
type evaluation struct {
	Name, Health, LastError string
}

func (s *server) evaluations() (all []evaluation) {
	s.t.Helper()
	var data struct {
		Groups []struct{ Rules []evaluation }
	}
	s.get("/api/v1/rules", &data)
	for _, g := range data.Groups {
		all = append(all, g.Rules...)
	}
	return all
}
