package databases

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jobguard/jobguard/guard/journal/record"
)

// Four processes, as far as the database can tell: each has connections of its own, and
// knows nothing of the others. Their callers begin runs until they are refused, and end
// them then.
func TestMaxOpenHoldsForProcessesThatBeginAtOnce(t *testing.T) {
	const processes, callers, most, rounds = 4, 2, 12, 30
	for name, p := range products {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dsn := p.dsn(t)
			var open, highest, refused atomic.Int64 // open: never more than are
			call := func(log record.Log, who string) error {
				var mine []record.Record
				end := func() error {
					for _, r := range mine {
						open.Add(-1)
						if err := log.End(t.Context(), record.End{Record: r, Outcome: record.EndDone}); err != nil {
							return err
						}
					}
					mine = nil
					return nil
				}
				for i := range rounds {
					r := record.Record{ID: fmt.Sprint(who, i), Kind: "charge", Key: who, Fence: 1}
					_, err := log.Begin(t.Context(), record.Intent{Record: r, MaxOpen: most})
					switch {
					case err == nil:
						mine = append(mine, r)
						now := open.Add(1)
						for was := highest.Load(); now > was && !highest.CompareAndSwap(was, now); was = highest.Load() {
						}
						continue
					case errors.Is(err, record.ErrFull):
						refused.Add(1)
						err = end()
					}
					if err != nil {
						return err
					}
				}
				return end()
			}
			var wg sync.WaitGroup
			for n := range processes {
				log := p.log(t, p.open(t, dsn))
				for m := range callers {
					wg.Go(func() {
						if err := call(log, fmt.Sprintf("%d/%d/", n, m)); err != nil {
							t.Error(err)
						}
					})
				}
			}
			wg.Wait()
			if highest.Load() > most || refused.Load() == 0 {
				t.Errorf("%d were open at once, want at most %d; %d were refused, want some", highest.Load(), most, refused.Load())
			}
			s, err := p.log(t, p.open(t, dsn)).Stats(t.Context())
			must(t, err)
			if s.Open != 0 {
				t.Errorf("%d are left open", s.Open)
			}
			t.Logf("%d of %d refused", refused.Load(), processes*callers*rounds)
		})
	}
}
