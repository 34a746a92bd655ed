package guard_test

import (
	"os/exec"
	"path"
	"strings"
	"testing"
)

const module = "github.com/jobguard/jobguard/"

// TestImportArrowsPointDown holds the architecture: what each package may pull
// in beyond the standard library.
func TestImportArrowsPointDown(t *testing.T) {
	core := []string{"guard/lease", "guard/internal/engine/keep", "guard/internal/engine/queue", "guard/internal/backoff", "guard/internal/pending", "guard/internal/timetable", "guard/internal/terms", "guard/internal/validkey", "internal/panics"}
	redis := []string{"github.com/redis/go-redis/v9", "github.com/google/uuid", "github.com/cespare/xxhash/v2", "go.uber.org/atomic", "golang.org/x/sys", "github.com/dgryski/go-rendezvous"}
	// What asynq brings along.
	asynq := append([]string{"github.com/robfig/cron/v3", "github.com/spf13/cast", "golang.org/x/time", "google.golang.org/protobuf"}, redis...)
	otel := []string{"guard", "guard/journal/record", "go.opentelemetry.io/otel", "go.opentelemetry.io/auto/sdk", "github.com/go-logr/logr", "github.com/go-logr/stdr", "github.com/cespare/xxhash/v2"}
	for pkg, allowed := range map[string][]string{
		"guard/lease":                 nil,
		"guard/internal/engine/keep":  {"guard/lease", "guard/internal/backoff", "guard/internal/pending", "guard/internal/timetable"},
		"guard/internal/engine/queue": {"guard/internal/engine/keep", "guard/lease", "guard/internal/backoff", "guard/internal/pending", "guard/internal/timetable"},
		"guard":                       core,
		"guard/stop":                  {"internal/panics"},
		"guard/guardtest":             {"guard/lease", "guard/internal/entry", "guard/journal/record"},
		"guard/journal/sqllog":        append([]string{"guard", "guard/internal/entry", "guard/internal/option", "guard/journal/record", "guard/sqlfence"}, core...),
		"guard/journal/record":        nil,
		"guard/journal":               append([]string{"guard", "guard/cronwrap", "guard/internal/option", "guard/journal/record", "github.com/robfig/cron/v3"}, core...),
		"guard/journal/logtest":       {"guard/journal/record"},
		"guard/journal/redislog":      append([]string{"guard/internal/layout", "guard/journal/record"}, redis...),
		"guard/lease/storetest":       {"guard/lease"},
		"guard/lease/quorum":          {"guard/lease"},
		"guard/lease/redisstore":      append([]string{"guard/lease", "guard/internal/backoff", "guard/internal/layout"}, redis...),
		"guard/httpmw":                append([]string{"guard", "github.com/felixge/httpsnoop"}, core...),
		"guard/cronwrap":              append([]string{"guard", "guard/internal/option", "github.com/robfig/cron/v3"}, core...),
		"internal/testserver":         nil,
		"internal/sqltest":            {"internal/testserver"},
		"guard/sqlfence":              append([]string{"guard", "guard/internal/option"}, core...),
		"guard/asynqmw":               append(append([]string{"guard", "guard/internal/option", "github.com/hibiken/asynq"}, core...), asynq...),
		"otelguard":                   append(otel, core...),
		"otelguard/termlinks":         append([]string{"otelguard", "github.com/google/uuid", "golang.org/x/sys"}, append(otel, core...)...),
	} {
		var complaints strings.Builder // on a new machine also what it downloads
		list := exec.CommandContext(t.Context(), "go", "list", "-deps",
			"-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", module+pkg)
		list.Stderr = &complaints
		out, err := list.Output()
		if err != nil {
			t.Fatalf("go list: %v\n%s", err, complaints.String())
		}
		for _, dep := range strings.Fields(string(out)) {
			dep = strings.TrimPrefix(dep, module)
			if dep != pkg && !within(dep, allowed) {
				t.Errorf("%s pulls in %s", pkg, dep)
			}
		}
	}
}

// within reports whether dep is one of allowed. Of other modules any package is.
func within(dep string, allowed []string) bool {
	for _, a := range allowed {
		if dep == a || strings.Contains(a, ".") && strings.HasPrefix(dep, path.Clean(a)+"/") {
			return true
		}
	}
	return false
}
