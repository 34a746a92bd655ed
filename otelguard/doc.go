// Package otelguard records traces, metrics and log events of guards with
// OpenTelemetry.
//
//	g, err := guard.New(store, guard.Observe(otelguard.New()))
//	orders := g.With(guard.Name("orders"))
//
// [New] takes the global providers unless options give others. One [Observer]
// serves any number of guards, together with other observers. It must be the first
// of those that implement [guard.MetadataSource]: only the first one's metadata is
// stored with the lease. All methods of Observer are for guards to call.
//
// # What is recorded
//
//   - Two spans for each run: "acquire {name}", from the call until the key is
//     granted, and "run {name}", the parent of the function's spans. An acquire
//     that found the key held has a link to the acquire span of the holder, so a
//     slow request leads to the job that delayed it. A term of guard.Lead is told in
//     pieces of five minutes, and what it does begins traces of its own: see [Term].
//   - Metrics: durations of acquires and runs, runs and waiters now, renewals and
//     the trust they left, lost leases, failed releases, contended and failed
//     attempts; with asynqmw.OnKeyError, tasks that had no valid key; with
//     journal.Observe, what is open and dead in the log of a journal, and what
//     happens to its records.
//   - Log events within the run's span: jobguard.lease.lost,
//     jobguard.renewal.late, jobguard.release.failed.
//
// Every name, attribute and outcome is in [docs/behaviour/otelguard.md], with
// complete set-ups for OTLP and Prometheus and how a trace goes through HTTP and
// asynq. monitoring/ has alert rules, a dashboard and runbooks; docs/tuning.md
// says what to do with the figures.
//
// # Names and keys
//
// The attribute jobguard.name is guard.Name, "unnamed" without one. Names must be
// few: from the 150th on they share "_OTHER".
//
// Keys and owners are in no span, metric or log event, unless [WithKeyAttribute]
// asks for keys. Three things to know:
//
//   - The holder's traceparent is in the value of its lease key, where every
//     client of the store can read it.
//   - redisotel puts whole commands, with keys and owner ids, on its spans: give it
//     redisotel.WithDBStatement(false), and the client ContextTimeoutEnabled, or it sees none.
//   - An attribute of an error is its type, never its text.
//
// # Shutdown
//
// An Observer starts nothing and needs no shutdown. Shut down the guards first,
// then the providers, so that the last spans are exported, with a context of their
// own: a run that is stuck uses up that of the guards. Package guard/stop does it.
//
// # Cost
//
// With everything recorded, an uncontended run on loopback takes 5 to 37 % more
// time, 14 % in the median, and 7 µs of processor time (BenchmarkOverhead).
//
// [docs/behaviour/otelguard.md]: https://github.com/jobguard/jobguard/blob/main/docs/behaviour/otelguard.md
package otelguard
