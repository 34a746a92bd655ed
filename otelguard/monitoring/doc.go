// Package monitoring holds no code, only files for Prometheus and Grafana that watch
// programs which use otelguard:
//
//   - rules.yml: recording and alert rules
//   - rules_test.yml: when each alert fires, and when it stays silent, for
//     promtool test rules
//   - RUNBOOKS.md: what each alert means and what to do
//   - dashboard.json: a Grafana dashboard
//
// The tests of this package hold them together: rules, dashboard, runbooks and
// docs/tuning.md name only metrics, labels and label values that otelguard
// exports, in queries that promtool accepts; every alert has a case that fires
// and one that stays silent, and a section in the runbooks; and a real Prometheus
// that scrapes a real program raises the alarm when a lease is lost. The rules are
// tested with samples on and off the grid of the evaluations, and all of this under
// Prometheus 2 and 3: make test-prometheus3.
package monitoring
