package stop_test

import (
	"context"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jobguard/jobguard/guard/stop"
)

// The guide does the sums of the example: what they come to if the times of its steps change.
func TestSumsOfTheGuideComeTrue(t *testing.T) {
	guide, err := os.ReadFile("../../docs/guide.md")
	if err != nil {
		t.Fatal(err)
	}
	_, end, _ := strings.Cut(string(guide), "## The end of a program")
	const total = 25 * time.Second
	type step struct {
		name   string
		budget time.Duration
	}
	var all []step
	var sum time.Duration
	var terms []string
	for _, m := range regexp.MustCompile(`steps\.Add\("(\w+)".*stop\.Budget\((?:(\d+)\*)?time\.Second\)`).FindAllStringSubmatch(end, -1) {
		n, _ := strconv.Atoi(m[2]) // none: one second
		n = max(1, n)
		all = append(all, step{m[1], time.Duration(n) * time.Second})
		sum += time.Duration(n) * time.Second
		terms = append(terms, strconv.Itoa(n))
	}
	if written := strings.Join(terms, " + ") + " = 25 s, the total"; sum != total || !strings.Contains(end, written) {
		t.Fatalf("the guide's steps take %v, and it says nothing of %q", sum, written)
	}
	// A request hangs, and otherwise the stop takes 4 s: readiness 3.5 s of them, tasks the rest.
	for name, c := range map[string]struct {
		obeys   bool // the handler, when the guard ends its context
		seconds int
		says    string
	}{
		"obeys":      {true, 18, "takes 18 s of the 25 if its handler obeys the context"},
		"never ends": {false, 22, "and 22 s if not"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				steps := stop.New(total)
				ended := make(chan struct{}) // the request
				for _, s := range all {
					steps.Add(s.name, func(ctx context.Context) error {
						switch s.name {
						case "readiness":
							time.Sleep(3500 * time.Millisecond)
						case "http":
							<-ctx.Done()
						case "guard":
							if <-ctx.Done(); !c.obeys {
								<-ended
							}
						case "asynq":
							time.Sleep(500 * time.Millisecond)
						}
						return nil
					}, stop.Budget(s.budget))
				}
				began := time.Now()
				_ = steps.Stop() // that it is late, in one of the cases
				if took := time.Since(began).Round(time.Second); took != time.Duration(c.seconds)*time.Second || !strings.Contains(end, c.says) {
					t.Errorf("it takes %v, and the guide must say %q", time.Since(began), c.says)
				}
				close(ended)
			})
		})
	}
}
