package cronwrap_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/robfig/cron/v3"

	"github.com/jobguard/jobguard/guard/cronwrap"
)

func TestMisuseIsNamed(t *testing.T) {
	g, c := mustGuard(t), cron.New()
	for name, misuse := range map[string]func(){
		"nil cron":     func() { cronwrap.New(nil, g) },
		"nil guard":    func() { cronwrap.New(c, nil) },
		"nil option":   func() { cronwrap.New(c, g, nil) },
		"nil fn":       func() { _, _ = cronwrap.New(c, g).Add("@daily", "k", nil) },
		"nil schedule": func() { _, _ = cronwrap.New(c, g).AddSchedule(nil, "k", nothing) },
		"nil handler":  func() { cronwrap.OnError(nil) },
		"negative":     func() { cronwrap.MaxSkew(-1) },
		"wrap":         func() { cronwrap.Wrap(nil, "k") },
		"wrap's name":  func() { cronwrap.Wrap(g, "") },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if got := fmt.Sprint(recover()); !strings.HasPrefix(got, "cronwrap: ") {
					t.Errorf("panic: %v", got)
				}
			}()
			misuse()
		})
	}
	if _, err := cronwrap.New(c, g).Add("@daily", "k", nothing, nil); err == nil || !strings.Contains(err.Error(), "JobOption") {
		t.Errorf("Add with a nil JobOption: %v", err)
	}
}
