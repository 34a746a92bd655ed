// Package journal records what runs intend, finds those that did not end well, and has
// them compensated.
//
//	j, err := journal.New(g, redislog.New(client))
//	...
//	j.Handle("charge", func(ctx context.Context, r journal.Record) error {
//		return refund(ctx, r.ID, r.Payload) // under r.Key, idempotent by r.ID and r.Reason
//	})
//	go j.Run(ctx) // on any number of replicas
//	...
//	err = j.Do(ctx, guard.Key("order", id), journal.Op{Kind: "charge", Payload: order}, func(ctx context.Context) error {
//		return charge(ctx, journal.ID(ctx), order)
//	})
//
// A lock narrows the time in which things go wrong; it does not close it. Do is guard.Do
// with a record: the intent is stored before fn runs, and the outcome after it. What is
// left open by a crash, an error or a lost lease is given to the handler of its kind.
//
// # What it guarantees
//
// No intent, no run: fn is called only once the log has the record. Each run whose intent
// was stored ends up as done; or its handler has been called, at least once, and returned
// nil; or it is dead, after MaxAttempts, and OnDead was called; or it is open still, and
// counted by Stats. A handler runs under the record's key, with a fencing token of its
// own, never beside a run whose context is alive.
//
// The key's own lease tells whether a run is alive: the sweeper waits in the key's queue,
// and who has the key knows that the run has ended or lost it. Runs send no heartbeats.
//
// # What it does not
//
// A record is as durable as its log. A run that is done, and whose process dies before
// the outcome is stored, is Abandoned all the same, as one that never began may be: handlers
// look at what is there. Only sqllog.Done makes the outcome part of the run's own commit.
//
// An [ID] is a run's, and not the order's: a task that is delivered again, or a request that
// is repeated, is a run with another one.
//
// [Journal.Check] compares log and data from time to time, once in the fleet: what it finds
// goes the same way, with reason Mismatched.
//
// # Reasons
//
//	Abandoned  nothing was reported: the process died, or fn never began
//	Failed     fn returned an error, panicked or exited
//	Late       fn ended after its lease was lost, whatever it returned
//
// A run that ends after its compensation began is given to the handler once more, as Late.
//
// # More
//
// The whole behaviour, with a test for each line: docs/behaviour/journal.md. Logs are
// journal/redislog, journal/sqllog and, for tests, guardtest.Log. Metrics, with alert
// rules and runbooks, come from an otelguard.Observer that is given to [Observe].
package journal
