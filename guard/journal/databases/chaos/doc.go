// Package chaos proves a journal against processes that are killed, stopped and cut from
// Redis. It has nothing to import.
//
// Six processes move money in two writes each. Those that are interrupted leave half of
// it in the ledger, and their handlers take it back. In the end nothing may be open, each
// run must be whole or taken back whole, and the ledger adds up to the cent.
//
// It lasts for JOBGUARD_CHAOS, and until there were JOBGUARD_RUNS runs. "make soak" asks
// for 10 000 of each log:
//
//	JOBGUARD_CHAOS=5m JOBGUARD_RUNS=10000 JOBGUARD_SEED=7 go test -timeout 1h -v ./guard/journal/databases/chaos
package chaos
