// Package otelguard tells OpenTelemetry what guards do: traces, metrics and log
// events.
//
//	g, err := guard.New(store, guard.Name("orders"), guard.Observe(otelguard.New()))
//
// [New] takes the global providers unless it is given others. One Observer serves
// any number of guards, beside other observers; of those that send something along
// with the lease ([guard.MetadataSource]), it must be the first, as only the first one's
// travels. All methods are for guards to call.
//
// # Set-up
//
// With OTLP:
//
//	ctx := context.Background()
//	spans, err1 := otlptracehttp.New(ctx)
//	metrics, err2 := otlpmetrichttp.New(ctx)
//	logs, err3 := otlploghttp.New(ctx)
//	if err := errors.Join(err1, err2, err3); err != nil {
//		log.Fatal(err)
//	}
//	tracers := trace.NewTracerProvider(trace.WithBatcher(spans))
//	meters := metric.NewMeterProvider(metric.WithReader(metric.NewPeriodicReader(metrics)))
//	loggers := sdklog.NewLoggerProvider(sdklog.WithProcessor(sdklog.NewBatchProcessor(logs)))
//	obs := otelguard.New(otelguard.WithTracerProvider(tracers), otelguard.WithMeterProvider(meters),
//		otelguard.WithLoggerProvider(loggers), otelguard.WithNames("orders"))
//	client := redis.NewClient(&redis.Options{Addr: "localhost:6379"})
//	g, err := guard.New(redisstore.New(client), guard.Name("orders"), guard.Observe(obs))
//	if err != nil {
//		log.Fatal(err)
//	}
//	// g.Do(…), and at the end of the program, in this order:
//	err = errors.Join(g.Shutdown(ctx), tracers.Shutdown(ctx), meters.Shutdown(ctx), loggers.Shutdown(ctx))
//	if err != nil {
//		log.Print(err)
//	}
//
// With Prometheus, which keeps exemplars if it is started with
// --enable-feature=exemplar-storage:
//
//	exporter, err := prometheus.New() // go.opentelemetry.io/otel/exporters/prometheus
//	if err != nil {
//		log.Fatal(err)
//	}
//	obs := otelguard.New(
//		otelguard.WithTracerProvider(trace.NewTracerProvider()), // the program's own: exemplars lead to its traces
//		otelguard.WithMeterProvider(metric.NewMeterProvider(metric.WithReader(exporter))),
//		otelguard.WithNames("orders"))
//	client := redis.NewClient(&redis.Options{Addr: "localhost:6379"})
//	g, err := guard.New(redisstore.New(client), guard.Name("orders"), guard.Observe(obs))
//	if err != nil {
//		log.Fatal(err)
//	}
//	http.Handle("GET /metrics", promhttp.HandlerFor(
//		promclient.DefaultGatherer, promhttp.HandlerOpts{EnableOpenMetrics: true}))
//	_ = g // g.Do(…)
//
// # Traces
//
//	acquire {name}  from the call until the key is there, or is not. Child of the caller's span
//	run {name}      while the function runs, until the key is given back. Parent of the function's
//	                spans, child of the caller's span
//
// A caller without a span, such as a cron job, has its trace begun by the acquire
// span, and the run's span is a child of that. A run under several keys then links
// to the acquire spans of the others.
//
// An acquire that found the key held links to the acquire span of who has it, or
// had it last while this one waited: from a slow request one gets to the job that
// is in its way. The span is in the trace of the run; docs/contended-trace.svg is a
// picture. The traceparent of the holder, 55 characters, rides in the value of
// its lease key, where everybody who can read the store can see it. Two limits:
//
//   - A process that passes the key on among its own callers, for 10 ms at most,
//     is known to others by the first of them.
//   - A caller that gave up may leave its place in line, under its own trace, to
//     another of its process.
//
// Attributes of both spans: jobguard.name; jobguard.outcome; error.type, only if
// the status is Error. They are set when the span ends, so a sampler has its name to go
// by. Keys and holders are never told: see [WithKeyAttribute].
//
//	acquire   jobguard.attempts     calls to the store meanwhile
//	          jobguard.waited       seconds in line, the store's answers included
//	          jobguard.contended    true if the key was found held, else absent
//	run       jobguard.ttl          seconds
//	          jobguard.renewals     that succeeded
//	          jobguard.fence        the token, 0 under Limit or Shared; jobguard.fences of several keys
//	          jobguard.release      what came of giving the keys back, of several the worst: released;
//	                                failed: retried in the background; lost: the store had it as ours no more
//
// Outcomes. Of an acquire: acquired, busy (tried once), timeout (the wait was
// over), canceled (the caller's context ended), error (the store could not be asked,
// also if the caller's context ended meanwhile, or Shutdown). Of a run: ok, error (the
// function's), lost, max_hold, panic (or Goexit). Status is Error for an acquire that
// is error, and a run that is not ok. A busy key is no error.
//
// What is refused without asking for a key is not told at all, neither as a span nor
// in metrics: an invalid key, a context that had ended before, a nested run that is
// stricter than the one around it. Nor is a nested run under keys that are held already.
//
// # Across processes
//
// The guard's spans go where ctx says. HTTP: put otelhttp around the guarded
// handler. asynq: send the trace in the task's headers, and take it up in front of
// the guard (both run in TestOneTraceFromTheRequestOverTheQueueToTheRunThatWasInItsWay):
//
//	headers := propagation.MapCarrier{}
//	otel.GetTextMapPropagator().Inject(ctx, headers)
//	client.EnqueueContext(ctx, asynq.NewTaskWithHeaders("ship", payload, headers))
//
//	mux.Use(func(next asynq.Handler) asynq.Handler {
//		return asynq.HandlerFunc(func(ctx context.Context, task *asynq.Task) error {
//			ctx = otel.GetTextMapPropagator().Extract(ctx, propagation.MapCarrier(task.Headers()))
//			return next.ProcessTask(ctx, task)
//		})
//	}, asynqmw.New(g, key))
//
// The propagator is set with otel.SetTextMapPropagator(propagation.TraceContext{}).
//
// # Metrics
//
//	name                         type            unit        what, and attributes besides jobguard.name
//	jobguard.acquire.duration    histogram       s           how long it took to acquire a key, or to give up;
//	                                                         jobguard.outcome, error.type
//	jobguard.run.duration        histogram       s           how long the keys were held, to the function's end;
//	                                                         jobguard.outcome, error.type
//	jobguard.run.ttl_ratio       histogram       1           the same as a multiple of the TTL
//	jobguard.runs.active         updowncounter   {run}       runs under way
//	jobguard.waiters.active      updowncounter   {waiter}    calls that wait for a key, or for the answer that it is free
//	jobguard.renewals            counter         {renewal}   jobguard.result: ok, failed; also of a lost lease, which is renewed on
//	                                                         to keep others out until the function returns
//	jobguard.renewal.trust_left  histogram       1           share of the TTL still proven when a renewal succeeded: 0.57 by
//	                                                         default if nothing is late
//	jobguard.leases.lost         counter         {lease}     jobguard.reason: expired, not_owner, max_hold
//	jobguard.release.failures    counter         {release}   releases that the store did not answer
//	jobguard.acquire.contended   counter         {acquire}   acquisitions that found the key held
//	jobguard.acquire.failures    counter         {acquire}   acquisitions whose outcome is error: unlike the histogram's series for
//	                                                         it, there from the start
//
// METRICS.txt has the names that Prometheus sees, and the buckets. jobguard.name is
// that of the group (guard.Name, "unnamed" without one), never a key: adapters set it
// to the route or the task type where the guard has none. The exception is
// guard/cronwrap: a job has one key, and its name is both. Names must be few: from the 150th
// on they share "_OTHER", and so do the error types of a name from the 9th on; more
// would be thrown together by the SDK. Both are told with at most 255 bytes, and with
// U+FFFD for what is not UTF-8. Counters exist, at 0, from the first acquire of a name, or
// from New with [WithNames]. Histograms and counters have exemplars where the trace is sampled.
//
// docs/tuning.md says what to do with the figures; monitoring/ has alert rules, a
// dashboard and runbooks.
//
// # Log events
//
// Within the run's span, with jobguard.name, jobguard.ttl and jobguard.fence:
//
//	jobguard.lease.lost       error   jobguard.reason
//	jobguard.renewal.late     warn    jobguard.trust_left, less than 1/8 of the TTL
//	jobguard.release.failed   warn    error.type
//
// # Beware of redisotel
//
// Instrumentation of the Redis client sees what the guard sends: keys, and owner ids
// with host names and trace parents. redisotel puts whole commands on its spans
// (db.statement) unless told not to:
//
//	client := redis.NewClient(&redis.Options{Addr: "localhost:6379"})
//	err := redisotel.InstrumentTracing(client, redisotel.WithDBStatement(false))
//	if err != nil {
//		log.Fatal(err)
//	}
//
// # What it costs
//
// Of the time of an uncontended run on loopback, 14 % more with all of this recorded: the
// median of 13 runs of BenchmarkOverhead, 5 to 37 %, on two cores that client and
// Redis share, where a run took 48 to 198 µs; 5 to 8 % with one core for Go (-cpu 1).
// In processor time it is 7 µs, of which 4 are the SDK's, for two spans and three
// records (BenchmarkSDKAlone). What becomes of a span when it has ended is up to its
// processor: trace.WithBatcher wakes a goroutine each time, which made runs slower or
// faster by more than that, as cores were free or not. Without an Observer a guard pays
// nothing.
package otelguard
