package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/jobguard/jobguard/internal/redistest"
)

func TestDoctorTellsWhatBreaksAPromiseAndWhatMendsIt(t *testing.T) {
	server := redistest.Start(t)
	client, url := server.Client(t), urlOf(server)
	must(t, client.ConfigSet(t.Context(), "appendonly", "yes").Err())
	must(t, client.ConfigSet(t.Context(), "appendfsync", "always").Err())
	call(t, "", "doctor", "--redis", url).want(t, exitOK)

	must(t, client.ConfigSet(t.Context(), "maxmemory-policy", "allkeys-lru").Err())
	must(t, client.ConfigSet(t.Context(), "maxmemory", "100mb").Err())
	call(t, "", "doctor", "--redis", url).want(t, exitFailed, "broken", "maxmemory-policy", "noeviction", "mend:")

	s := call(t, "", "doctor", "--json", "--redis", url)
	s.want(t, exitFailed)
	var f findingJSON
	first, _, _ := strings.Cut(s.out, "\n")
	if err := json.Unmarshal([]byte(first), &f); err != nil || f.Severity != "broken" || f.Fix == "" || f.Server != url {
		t.Errorf("%+v, %v, from %s", f, err, s.out)
	}
	call(t, "", "doctor", "--ttl", "0s", "--redis", url).want(t, exitUsage, "positive")
	server.Kill()
	call(t, "", "doctor", "--redis", url).want(t, exitFailed)
}
