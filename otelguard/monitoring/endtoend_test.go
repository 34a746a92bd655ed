package monitoring_test

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/jobguard/jobguard/internal/redistest"
)

// The whole way: a program holds a lease on a real Redis and a real Prometheus
// scrapes it, with the rules as they are. The test deletes the key.
func TestAlertFiresWhenALeaseIsLost(t *testing.T) {
	redisServer := redistest.Start(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), programEnv+"="+redisServer.Addr())
	p := startPrometheus(t, launch(t, regexp.MustCompile(`(?m)^(127\.0\.0\.1:\d+)$`), cmd))

	const (
		series = `jobguard_leases_lost_total{job="shop", jobguard_name="` + theName + `", jobguard_reason="not_owner"}`
		record = `job_jobguard_name_jobguard_reason:jobguard_leases_lost:increase5m{jobguard_reason="not_owner"}`
	)
	t.Log("before: the counter is there, at 0, and nothing fires")
	eventually(t, "the rules have seen the counter at 0", func() bool {
		now, ok := p.value(record)
		return ok && now == 0
	})
	if now, ok := p.value(series); !ok || now != 0 {
		t.Fatalf("%s is %v (there: %v) before anything was lost, want 0", series, now, ok)
	}
	if early := p.firing(); len(early) > 0 {
		t.Fatalf("alerts before anything was lost: %v", early)
	}

	t.Log("the key is deleted")
	client := redisServer.Client(t)
	eventually(t, "the program holds its key", func() bool {
		return client.Del(t.Context(), "guard:"+theKey).Val() == 1
	})

	eventually(t, "the series moves", func() bool { now, _ := p.value(series); return now == 1 })
	eventually(t, "the recorded series moves", func() bool { now, _ := p.value(record); return now > 0 })
	var fired []alert
	eventually(t, "the alert fires", func() bool { fired = p.firing(); return len(fired) > 0 })
	if len(fired) > 1 {
		t.Errorf("more than one thing is wrong: %v", fired)
	}
	for label, want := range map[string]string{
		"severity": "critical", "job": "shop", "jobguard_name": theName, "jobguard_reason": "not_owner",
	} {
		if fired[0].Labels[label] != want {
			t.Errorf("the alert has %s=%q, want %q", label, fired[0].Labels[label], want)
		}
	}
	if got, want := fired[0].Annotations["summary"], "Leases of "+theName+" were lost while work ran (not_owner)"; got != want {
		t.Errorf("the alert says %q, want %q", got, want)
	}
	if got, want := fired[0].Annotations["runbook_url"], runbooks+"#jobguardleaselost"; got != want {
		t.Errorf("the alert links to %q, want %q", got, want)
	}

	for _, rule := range p.evaluations() {
		if rule.Health != "ok" {
			t.Errorf("rule %s: %s %s", rule.Name, rule.Health, rule.LastError)
		}
	}
	theDashboard(t).expressions(func(where, expr string) {
		expr = filled(expr)
		if strings.Contains(expr, `outcome="error"`) {
			p.query(expr) // no error has happened: that it is understood is enough
			return
		}
		eventually(t, where+" shows something", func() bool { return len(p.query(expr)) > 0 })
	})
}
