// Package exclusive tells how a run holds its key.
package exclusive

import (
	"context"

	"github.com/jobguard/jobguard/guard"
)

// Run reports whether nobody else may run under key, of which ctx comes from a run. One whose
// lease is lost has no token either, like one under Limit or Shared: of it nothing is known. It asks
// the store for nothing.
func Run(ctx context.Context, key string) (exclusive, known bool) {
	if _, exclusive = guard.Fence(ctx); exclusive {
		return true, true
	}
	// Second, as a loss is final: a run that has its lease now had it before.
	return false, guard.Holding(ctx, key)
}
