// Package exclusive tells how a run of one key holds it.
package exclusive

import (
	"context"

	"github.com/jobguard/jobguard/guard"
)

// Run reports whether nobody else may run under the key of the run that ctx comes from. A run whose
// lease is lost has no token either, like one under Limit or Shared: of it nothing is known. It asks
// the store for nothing.
func Run(ctx context.Context) (exclusive, known bool) {
	if _, exclusive = guard.Fence(ctx); exclusive {
		return true, true
	}
	// Second, as a loss is final: a run that has its lease now had it before.
	return false, guard.Ensure(ctx, 0) == nil
}
