package cronwrap_test

import (
	"fmt"
	"testing"

	"github.com/robfig/cron/v3"

	"github.com/jobguard/jobguard/guard/cronwrap"
)

func TestMisusePanicsWithWhatIsWrong(t *testing.T) {
	g, c := mustGuard(t), cron.New()
	badKey := fmt.Sprint(g.Do(t.Context(), "", nothing))
	for want, misuse := range map[string]func(){
		"cronwrap: nil Cron":                    func() { cronwrap.New(nil, g) },
		"cronwrap: nil Guard":                   func() { cronwrap.New(c, nil) },
		"cronwrap: an Option is nil":            func() { cronwrap.New(c, g, nil) },
		"cronwrap: OnError: the handler is nil": func() { cronwrap.New(c, g, cronwrap.OnError(nil)) },
		"cronwrap: MaxSkew -1ns is negative":    func() { cronwrap.New(c, g, cronwrap.MaxSkew(-1)) },
		"cronwrap: nil fn":                      func() { _, _ = cronwrap.New(c, g).Add("@daily", "k", nil) },
		"cronwrap: nil Schedule":                func() { _, _ = cronwrap.New(c, g).AddSchedule(nil, "k", nothing) },
		"cronwrap: Wrap: " + badKey:             func() { cronwrap.Wrap(g, "") },
	} {
		t.Run(want, func(t *testing.T) {
			defer func() {
				if got := recover(); got != want {
					t.Errorf("panicked with %v, want %q", got, want)
				}
			}()
			misuse()
		})
	}
	defer func() {
		if got := recover(); got != "cronwrap: nil Guard" {
			t.Errorf("Wrap without a guard: panicked with %v", got)
		}
	}()
	cronwrap.Wrap(nil, "k")
}

func TestWrongJobOptionsAreErrorsOfAdd(t *testing.T) {
	r := cronwrap.New(cron.New(), mustGuard(t))
	for want, opt := range map[string]cronwrap.JobOption{
		"a JobOption is nil":                     nil,
		"Overlap 7 is neither Skip nor Wait":     cronwrap.Overlap(7),
		"DST 7 is neither AsCron nor Once":       cronwrap.DST(7),
		"CatchUp: the n of All is less than 1":   cronwrap.CatchUp(cronwrap.All(0), 1),
		"CatchUp: within 0s is not more than 0s": cronwrap.CatchUp(cronwrap.Once, 0),
	} {
		if _, err := r.Add("@daily", "k", nothing, opt); err == nil || err.Error() != `cronwrap: job "k": `+want {
			t.Errorf("Add: %v, want %q", err, want)
		}
	}
}
