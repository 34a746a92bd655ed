// Package stop ends a program in steps, in order and in time, so that a deploy
// leaves no gap: requests are answered, tasks and ticks end or pass on to another
// process, a leader is followed at once, and telemetry is sent last.
//
//	steps := stop.New(25 * time.Second) // Kubernetes kills after 30 s
//	steps.Add("readiness", notReady)    // and wait until the load balancer has noticed
//	steps.Add("http", srv.Shutdown, stop.Budget(10*time.Second))
//	steps.Add("asynq", func(context.Context) error { tasks.Shutdown(); return nil })
//	steps.Add("cron", jobs.Shutdown)
//	steps.Add("guard", g.Shutdown)
//	steps.Add("redis", func(context.Context) error { return client.Close() })
//	steps.Add("telemetry", tracers.Shutdown)
//	<-ctx.Done() // of signal.NotifyContext
//	err := steps.Stop()
//
// # Order
//
// What takes work from outside stops first: http.Server.Shutdown lets requests
// that wait for a key get it, where Guard.Shutdown answers them with 503. The guard
// comes after all that runs under it, the Redis client after the guard, telemetry
// after all that it tells of. Guard.Shutdown ends leaders' terms.
//
// # Time
//
// The total is divided at the beginning of Stop: a step gets its [Budget], and those
// without one share equally what is left. What a step does not use is the next ones'.
// When two thirds of its time are over the step's context ends; the last third is for
// what it does then, such as Guard.Shutdown, which cancels runs and waits for them.
// When all of it is over the next step begins, and the late one goes on beside it:
// Stop names it in its error. So Stop returns within the total, whatever a step does.
//
// # Failures
//
// A step that fails, panics or is late does not keep the others from running.
//
// # Goroutines
//
// Each step runs on a goroutine of its own, which ends when the step returns. None
// is left after Stop except those of steps that were late.
//
// Every case with its test:
// https://github.com/jobguard/jobguard/blob/main/docs/behaviour/stop.md
package stop
