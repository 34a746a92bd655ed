// Package small needs the standard library and guard alone.
package small

import (
	"context"

	"github.com/jobguard/jobguard/guard"
)

func outer(ctx context.Context, step func(context.Context) error) error {
	return guard.Do(ctx, "k", func(context.Context) error { return step(ctx) })
}
