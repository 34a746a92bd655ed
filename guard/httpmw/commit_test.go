package httpmw_test

import (
	"context"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/httpmw"
)

// warehouse is a database whose transactions read what has been committed.
type warehouse struct {
	mu         sync.Mutex
	left, sold int
}

type transaction struct {
	*warehouse
	left, sold int // as they will be
}

type transactionKey struct{}

func (w *warehouse) begin(r *http.Request) (*transaction, *http.Request) {
	tx := &transaction{warehouse: w}
	return tx, r.WithContext(context.WithValue(r.Context(), transactionKey{}, tx))
}

func sell(_ http.ResponseWriter, r *http.Request) {
	tx := r.Context().Value(transactionKey{}).(*transaction)
	tx.mu.Lock()
	defer tx.mu.Unlock()
	if tx.warehouse.left > 0 {
		tx.left, tx.sold = tx.warehouse.left-1, 1
	}
}

func (tx *transaction) commit() {
	time.Sleep(time.Millisecond)
	tx.mu.Lock()
	defer tx.mu.Unlock()
	if tx.sold > 0 {
		tx.warehouse.left = tx.left
		tx.warehouse.sold++
	}
}

// transacted is a middleware that begins a transaction before next and commits it after it.
func (w *warehouse) transacted(next http.Handler) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		tx, r := w.begin(r)
		next.ServeHTTP(rw, r)
		tx.commit()
	})
}

// 40 buyers, ten things.
func TestOnlyACommitInsideTheHandlerIsGuarded(t *testing.T) {
	for name, c := range map[string]struct {
		inside bool
		right  func(sold int) bool
	}{
		"inside":  {true, func(sold int) bool { return sold == 10 }},
		"outside": {false, func(sold int) bool { return sold > 10 }},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFleet(t, 1, ok, nil)
				g, err := guard.New(f.store)
				if err != nil {
					t.Fatal(err)
				}
				db := &warehouse{left: 10}
				once := httpmw.New(g, func(*http.Request) (string, error) { return key, nil })
				h := once(db.transacted(http.HandlerFunc(sell)))
				if !c.inside {
					h = db.transacted(once(http.HandlerFunc(sell)))
				}
				f.replicas[0] = h
				var all sync.WaitGroup
				for range 40 {
					all.Go(func() {
						if status, _ := f.ask(t.Context(), 0, path); status != http.StatusOK {
							t.Errorf("status %d", status)
						}
					})
				}
				all.Wait()
				if !c.right(db.sold) {
					t.Errorf("%d sold of 10", db.sold)
				}
			})
		})
	}
}
