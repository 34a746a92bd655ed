package guard

import "unsafe"

// RunSize is what each run keeps while fn runs, beside its leases and its std context.
const RunSize = unsafe.Sizeof(run{})

// ResetDefault undoes SetDefault, so that the test of it can run again.
func ResetDefault() { defaultGuard.Store(nil) }

// Left counts what g's family still keeps: calls, runs, and entries of the engine.
func Left(g *Guard) int {
	f := g.family
	calls := f.calls.Left()
	f.mu.Lock()
	defer f.mu.Unlock()
	return calls + len(f.runningLocked()) + f.engine.Left()
}
