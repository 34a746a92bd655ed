// Package stop ends a program in steps, in order and in time, so that a deploy
// leaves no gap: requests are answered, tasks and ticks end or pass on to another
// process, a leader is followed at once, and telemetry is sent last.
//
//	steps := stop.New(25 * time.Second) // Kubernetes kills after 30 s
//	steps.Add("readiness", p.notReady, stop.Budget(6*time.Second)) // until the load balancer has noticed
//	steps.Add("http", p.srv.Shutdown, stop.Budget(6*time.Second))
//	steps.Add("asynq", p.stopTasks, stop.Budget(4*time.Second)) // Shutdown of the server, then Close of mw
//	steps.Add("cron", p.jobs.Shutdown, stop.Budget(3*time.Second))
//	steps.Add("guard", p.guard.Shutdown, stop.Budget(3*time.Second)) // leaders too
//	steps.Add("redis", p.closeRedis, stop.Budget(time.Second))
//	steps.Add("telemetry", p.provider.Shutdown, stop.Budget(2*time.Second))
//
// The whole program is the package's example.
//
// # Order
//
// What takes work from outside stops first: http.Server.Shutdown lets requests
// that wait for a key get it, where Guard.Shutdown answers them with 503. Before it the
// load balancer must have noticed, or its next request meets a closed port. The guard
// comes after all that runs under it, the Redis client after the guard, telemetry
// after all that it tells of. Guard.Shutdown ends leaders' terms.
//
// # Time
//
// The total is divided at the beginning of Stop: a step gets its [Budget], and those
// without one share equally what is left. What a step does not use is the next ones'.
// When two thirds of its time are over the step's context ends; the last third is for
// what it does then, such as Guard.Shutdown, which cancels runs and waits for them.
// asynq's Shutdown has no context: the ShutdownTimeout of its Config, 8 s by default,
// must be less than the step's budget.
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
