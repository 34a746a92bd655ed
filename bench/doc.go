// Command bench measures guard against other lock libraries on one Redis:
// throughput and waiting times with and without contention, Redis commands for
// a handoff, allocations, and what a hundred thousand held leases cost.
//
//	go run ./bench                        # all of it, about ten minutes
//	go run ./bench -quick                 # the same in less than one
//	go run ./bench -only '^8x8' -rounds 3 # some of it
//
// It starts redis-server processes of its own, one for each measurement, on
// free ports of 127.0.0.1 and without persistence, and kills them. Machines are
// noisy, so the rivals take turns for several rounds, and the medians count.
//
// Every contended measurement has a judge inside the critical section. If it
// ever sees two holders at once, or fencing tokens that do not rise in the order
// of entering, the run fails: speed without exclusion is of no interest. A bar
// of speed that is missed fails the run only with -gate, as in make bench.
//
// The command is a module of its own, so that the libraries it compares with
// never enter the dependencies of programs that import guard.
package main
