package guardtest

import (
	"context"

	"github.com/jobguard/jobguard/guard/lease"
)

var _ lease.HolderFinder = (*Store)(nil)

// FindHolder implements [lease.HolderFinder].
func (s *Store) FindHolder(ctx context.Context, key string) (h lease.Holder, _ error) {
	err := s.call(ctx, OpFindHolder, []string{key}, func(int) {
		if k := s.stateLocked(key); len(k.holders) > 0 {
			h = lease.HolderOf(k.holder(), k.remaining(lease.Exclusive))
		}
		s.tidyLocked(key)
	})[0]
	return h, err
}
