// Package bench measures guard against other lock libraries on one Redis:
// throughput and waiting times under contention, Redis commands for a handoff,
// goroutines and bytes for a held lease.
//
// It is a module of its own, so that the libraries it compares with never enter
// the dependencies of those who import guard.
package bench
