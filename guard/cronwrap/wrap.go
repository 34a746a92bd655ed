package cronwrap

import (
	"context"
	"errors"
	"log/slog"

	"github.com/robfig/cron/v3"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/internal/validkey"
	"github.com/jobguard/jobguard/internal/panics"
)

// Wrap returns a wrapper for the chain of one existing job, whose runs then do not
// overlap in all replicas together:
//
//	c.Schedule(schedule, cron.NewChain(cronwrap.Wrap(g, "report")).Then(job))
//
// name is the key. Where g leaves Wait unset, a run whose key is held is dropped. A
// cron.Job has no context to see a lost lease by, and no tick: replicas whose clocks differ
// run a short job several times, unless g sets a longer MinHold. [Runner.Add] has none of
// these limits. Errors of the guard and panics of the job are logged (log/slog) at level
// Error; wrappers outside see none. A nil g, or a name that cannot be a key, panics.
func Wrap(g *guard.Guard, name string) cron.JobWrapper {
	if g == nil {
		panic("cronwrap: nil Guard")
	}
	if err := validkey.Check(name); err != nil {
		panic("cronwrap: Wrap: the name is no key: " + err.Error())
	}
	g = g.With(guard.Fallback(guard.Wait(0), guard.Name(name)))
	return func(job cron.Job) cron.Job {
		return cron.FuncJob(func() {
			ran := false
			err := g.Do(context.Background(), name, func(context.Context) error {
				ran = true
				return panics.Call(func() error { job.Run(); return nil })
			})
			switch {
			case err == nil:
			case !ran && errors.Is(err, guard.ErrBusy):
				slog.Debug("cronwrap: run dropped", "job", name, "reason", err)
			default:
				logError(&Error{Name: name, Err: err})
			}
		})
	}
}
