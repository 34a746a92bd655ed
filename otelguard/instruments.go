package otelguard

import (
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/metric"
)

// instruments are listed in docs/behaviour/otelguard.md too.
type instruments struct {
	acquireDuration metric.Float64Histogram
	runDuration     metric.Float64Histogram
	ttlRatio        metric.Float64Histogram
	trustLeft       metric.Float64Histogram

	runs    metric.Int64ObservableUpDownCounter
	waiters metric.Int64ObservableUpDownCounter

	renewals        metric.Int64Counter
	lost            metric.Int64Counter
	releaseFailures metric.Int64Counter
	contended       metric.Int64Counter
	failures        metric.Int64Counter
	keyErrors       metric.Int64Counter

	// Of journals.
	open, openLimit, dead metric.Int64ObservableGauge
	oldest                metric.Float64ObservableGauge
	compensations         metric.Int64Counter
	late                  metric.Int64Counter
	mismatches            metric.Int64Counter
	journalErrors         metric.Int64Counter
}

func newInstruments(m metric.Meter) (i instruments) {
	i.acquireDuration = histogram(m, "jobguard.acquire.duration", "s", "How long it took to acquire a key, or to give up.",
		.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60)
	i.runDuration = histogram(m, "jobguard.run.duration", "s", "How long runs held their keys.",
		.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 1800)
	i.ttlRatio = histogram(m, "jobguard.run.ttl_ratio", "1", "How long runs held their keys, as a multiple of the TTL.",
		.01, .05, .1, .25, .5, .75, 1, 1.5, 2, 3, 5, 10, 30, 100)
	i.trustLeft = histogram(m, "jobguard.renewal.trust_left", "1", "Share of the TTL for which the lease was still proven when a renewal succeeded.",
		.05, .1, .2, .3, .4, .5, .6, .7, .8, .9)
	i.runs = gauge(m, "jobguard.runs.active", "{run}", "Runs under way.")
	i.waiters = gauge(m, "jobguard.waiters.active", "{waiter}", "Calls that wait for a key, or for the answer that it is free.")
	i.renewals = counter(m, "jobguard.renewals", "{renewal}", "Renewals of leases.")
	i.lost = counter(m, "jobguard.leases.lost", "{lease}", "Leases that ended while their run went on.")
	i.releaseFailures = counter(m, "jobguard.release.failures", "{release}", "Releases that the store did not answer.")
	i.contended = counter(m, "jobguard.acquire.contended", "{acquire}", "Acquisitions that found the key held.")
	i.failures = counter(m, "jobguard.acquire.failures", "{acquire}", "Acquisitions that ended in an error: the store could not be asked, or Shutdown.")
	i.keyErrors = counter(m, "jobguard.key.errors", "{attempt}", "Attempts of tasks that had no valid key.")
	i.journals(m)
	return i
}

func (i *instruments) journals(m metric.Meter) {
	i.open = level(m, "jobguard.journal.open", "{record}", "Records in the log that are open: under way, or not compensated yet.")
	i.openLimit = level(m, "jobguard.journal.limit", "{record}", "How many records may be open.")
	i.dead = level(m, "jobguard.journal.dead", "{record}", "Records in the log whose handler failed for the last time.")
	oldest, err := m.Float64ObservableGauge("jobguard.journal.oldest", metric.WithUnit("s"), metric.WithDescription("Age of the oldest open record."))
	handle(err)
	i.oldest = oldest
	i.compensations = counter(m, "jobguard.journal.compensations", "{compensation}", "Calls of handlers.")
	i.late = counter(m, "jobguard.journal.late", "{run}", "Runs that ended after their lease was lost, or after their compensation had begun.")
	i.mismatches = counter(m, "jobguard.journal.mismatches", "{mismatch}", "Mismatches that checks found, also those found before.")
	i.journalErrors = counter(m, "jobguard.journal.errors", "{error}", "Outcomes that could not be stored, checks and sweeps that failed, figures that the log did not give.")
}

// For an instrument that cannot be made the API returns one that records nothing,
// so the error goes to otel.Handle and not to the caller.

func histogram(m metric.Meter, name, unit, what string, bounds ...float64) metric.Float64Histogram {
	h, err := m.Float64Histogram(name, metric.WithUnit(unit), metric.WithDescription(what), metric.WithExplicitBucketBoundaries(bounds...))
	handle(err)
	return h
}

func gauge(m metric.Meter, name, unit, what string) metric.Int64ObservableUpDownCounter {
	c, err := m.Int64ObservableUpDownCounter(name, metric.WithUnit(unit), metric.WithDescription(what))
	handle(err)
	return c
}

// level is a gauge of what all processes see alike, so that adding it up over them is wrong.
func level(m metric.Meter, name, unit, what string) metric.Int64ObservableGauge {
	c, err := m.Int64ObservableGauge(name, metric.WithUnit(unit), metric.WithDescription(what))
	handle(err)
	return c
}

func counter(m metric.Meter, name, unit, what string) metric.Int64Counter {
	c, err := m.Int64Counter(name, metric.WithUnit(unit), metric.WithDescription(what))
	handle(err)
	return c
}

func handle(err error) {
	if err != nil {
		otel.Handle(err)
	}
}
