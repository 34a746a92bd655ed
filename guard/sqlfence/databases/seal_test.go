package databases

import (
	"context"
	"database/sql"
	"errors"
	"testing"

	"github.com/jobguard/jobguard/guard/sqlfence"
)

func TestLowerTokenAfterAHigherOneIsRefused(t *testing.T) {
	eachProduct(t, func(t *testing.T, _ product, db *sql.DB, f *sqlfence.Fence) {
		seal := func(token int64) error {
			return withToken(t.Context(), t, token, func(ctx context.Context) error {
				return sealed(ctx, db, f, "order:42", func(*sql.Tx) error { return nil })
			})
		}
		must(t, seal(5))
		must(t, seal(7))
		must(t, seal(7))
		err := seal(6)
		var stale *sqlfence.StaleError
		if !errors.Is(err, sqlfence.ErrStale) || !errors.As(err, &stale) || stale.Token != 6 || stale.Newest != 7 || stale.Resource != "order:42" {
			t.Errorf("token 6 after 7: %v", err)
		}
		must(t, seal(8))
	})
}
