package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/journal/record"
	"github.com/jobguard/jobguard/internal/sqltest"
)

// What a shop that is open for hours keeps is what is on sale, and what was not shipped.
func TestForgottenShowsLeaveTheDatabase(t *testing.T) {
	t.Parallel()
	for name, open := range map[string]func(t *testing.T) (dsn string){
		"SQLite": func(t *testing.T) string { return filepath.Join(t.TempDir(), "shop.db") },
		"PostgreSQL": func(t *testing.T) string {
			d, err := openDatabases(t.Context(), sqltest.Postgres(t).DSN)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := d.destroy(); err != nil {
					t.Error(err)
				}
			})
			dsn, err := d.create(t.Context(), "shop")
			if err != nil {
				t.Fatal(err)
			}
			return dsn
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := openShop(open(t), 1)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(s.close)
			if err := s.create(t.Context()); err != nil {
				t.Fatal(err)
			}
			h := newHouse(options{items: 10}, s, nil)
			now := time.Now()
			exec := func(statement string, args ...any) {
				t.Helper()
				if _, err := s.db.ExecContext(t.Context(), s.q(statement), args...); err != nil {
					t.Fatal(err)
				}
			}
			sale := func(sku string, buyer, paid, shipped int) {
				exec(`INSERT INTO sales (sku, buyer, token, paid, shipped) VALUES (?, ?, 0, ?, ?)`, sku, buyer, paid, shipped)
				exec(`INSERT INTO fences (resource, token) VALUES (?, 1)`, []byte(guard.Key("order", sku, fmt.Sprint(buyer))))
			}
			var before view
			for i := range 20 {
				if err := h.keepBooks(t.Context(), now, true); err != nil {
					t.Fatal(err)
				}
				sku := h.current[0].sku
				sale(sku, 1, 1, 1)
				sale(sku, 2, 1, 0) // to be shipped
				sale(sku, 3, 0, 0) // not paid, and not under a guard: nobody puts it back
				exec(`INSERT INTO reconciliations VALUES (?, 'replica 1', 0)`, now.UnixMilli())
				if err := h.keepBooks(t.Context(), now, true); err != nil {
					t.Fatal(err)
				}
				before = h.view(now, true)
				if i == 19 {
					break
				}
				h.current[0].closes = now
				now = now.Add(61 * time.Second)
			}
			if before.With.Sold != 60 || before.Office.Paid != 40 || before.Office.Shipped != 20 || before.Office.Ticks != 20 {
				t.Errorf("sums: %+v %+v", before.With, before.Office)
			}
			rows := func(table string) (n int) {
				t.Helper()
				if err := s.db.QueryRowContext(t.Context(), `SELECT count(*) FROM `+table).Scan(&n); err != nil {
					t.Fatal(err)
				}
				return n
			}
			for table, most := range map[string]int{"stock": 3, "reconciliations": 3, "sales": 20 + 2*3, "fences": 40 + 3*3} {
				if n := rows(table); n > most {
					t.Errorf("%d rows of %s, want %d at most", n, table, most)
				}
			}
			if _, err := s.tidy(t.Context(), []string{h.current[0].sku}, now.Add(time.Hour)); err != nil {
				t.Fatal(err)
			}
			if o, err := s.office(t.Context()); err != nil || o.By == "" {
				t.Errorf("nobody is known to have run the last tick: %+v, %v", o, err)
			}
			if orders, err := s.unsent(t.Context(), 100); err != nil || len(orders) != 20 {
				t.Errorf("%d orders to be shipped, want all 20: %v", len(orders), err)
			}
		})
	}
}

// A database that does not answer for a moment is waited for; one that is gone ends the
// shop, with its reason.
func TestDatabaseMayBeGoneForAWhile(t *testing.T) {
	h := newHouse(options{replicas: 1}, nil, nil)
	gone, now := errors.New("connection refused"), time.Now()
	for i := range 100 {
		if err := h.outage(gone, now.Add(time.Duration(i)*300*time.Millisecond)); err != nil {
			t.Fatalf("after %d times 0.3 s: %v", i, err)
		}
	}
	if err := h.outage(nil, now.Add(30*time.Second)); err != nil || h.logged != 2 {
		t.Errorf("it answers again: %v; said %v", err, h.log)
	}
	if err := h.outage(gone, now.Add(40*time.Second)); err != nil {
		t.Errorf("gone once more: %v", err)
	}
	if err := h.outage(gone, now.Add(71*time.Second)); !errors.Is(err, gone) {
		t.Errorf("after 31 s: %v", err)
	}
}

// A house whose database fails from the start goes on showing views.
func TestHouseWithoutADatabaseGoesOn(t *testing.T) {
	s := newShop(t, 1)
	s.close()
	h := newHouse(options{replicas: 1, items: 10}, s.shop, nil)
	h.clerks = []*clerk{{state: starting}}
	h.feed.count(1, 1) // somebody watches
	for range 20 {
		if err := h.frame(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if view, n, _, _ := h.feed.newest(); n != 20 || !strings.Contains(string(view), "database is closed: trying again") {
		t.Errorf("%d views, the last %s", n, view)
	}
}

// Who comes to watch sees at once what went on behind the counter while nobody watched.
func TestFirstViewShowsTheOfficeAsItIs(t *testing.T) {
	s := newShop(t, 1)
	h := newHouse(options{items: 10}, s.shop, nil)
	h.frames = 1 // of the leases, which are looked at in every third frame, there is no store
	if err := h.keepBooks(t.Context(), time.Now(), false); err != nil {
		t.Fatal(err)
	}
	if _, err := s.db.ExecContext(t.Context(), `INSERT INTO sales (sku, buyer, token, paid, shipped) VALUES ('ticket', 1, 1, 1, 1)`); err != nil {
		t.Fatal(err)
	}
	h.feed.count(1, 1)
	if err := h.frame(t.Context()); err != nil {
		t.Fatal(err)
	}
	var first view
	text, _, whole, _ := h.feed.newest()
	if err := json.Unmarshal(text, &first); err != nil || !whole {
		t.Fatalf("%v, whole: %t", err, whole)
	}
	if first.Office.Paid != 1 || first.Office.Shipped != 1 {
		t.Errorf("the first view has %+v", first.Office)
	}
}

// The page says why tickets are put back although nobody breaks anything.
func TestPageTellsThatCardsAreDeclined(t *testing.T) {
	page, err := webFiles.ReadFile("web/index.html")
	if err != nil || !strings.Contains(string(page), fmt.Sprintf("One card in %d is declined", declines)) {
		t.Errorf("it does not, or tells another number than %d: %v", declines, err)
	}
}

// Replicas write all the time, and SQLite has one writer.
func TestDatabaseIsTidiedBesideWriters(t *testing.T) {
	t.Parallel()
	s := newShop(t, 1)
	rival, err := openShop(s.path, 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(rival.close)
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { // ends with ctx
		for ctx.Err() == nil {
			_, _ = rival.db.ExecContext(ctx, `UPDATE stock SET tickets = tickets + 1`) // the other's errors count
		}
	})
	defer wg.Wait()
	defer stop()
	for range 200 {
		if _, err := s.tidy(t.Context(), []string{"ticket"}, time.Now()); err != nil {
			t.Fatal(err)
		}
	}
}

// The page gets lists, also empty ones.
func TestViewHasListsEvenBeforeAnythingHappens(t *testing.T) {
	h := newHouse(options{replicas: 2}, nil, nil)
	h.clerks = []*clerk{{state: starting}, {state: starting}}
	h.current[0] = &show{sku: "show-1", guarded: true}
	for _, whole := range []bool{true, false} {
		text, err := json.Marshal(h.view(time.Now(), whole))
		if err != nil || strings.Contains(string(text), "null") {
			t.Errorf("%s, %v", text, err)
		}
	}
}

func TestDeclinedCardsAreSaidOnceInAWhile(t *testing.T) {
	h := newHouse(options{replicas: 1}, nil, nil)
	c := &clerk{part: part{Name: "one"}}
	failed := message{SKU: "show-1", Reason: string(record.Failed), Tickets: 1}
	for range 5 {
		h.compensated(c, failed)
	}
	h.compensated(c, message{SKU: "show-1", Reason: string(record.Abandoned), Tickets: 1})
	if h.logged != 2 || h.putBack != 6 {
		t.Errorf("%d tickets put back, said %v; want the first failure, and what was abandoned", h.putBack, h.log)
	}
	h.decline.last = h.decline.last.Add(-time.Minute)
	h.compensated(c, failed)
	if got := h.log[len(h.log)-1].Text; !strings.Contains(got, "the sale failed (4 more failed in the last 60 s)") {
		t.Errorf("a minute later: %q", got)
	}
}

// A page that was not watched for long hears how a lease ended.
func TestLeaseThatEndedUnseenIsTold(t *testing.T) {
	l := lanes{open: map[laneKey]*span{}}
	l.enter(0, message{SKU: "a", Token: 7, Run: 1, At: 1000})
	l.changes(false)
	now := 1000 + ttl.Milliseconds() + 2*history.Milliseconds()
	l.age(now)
	if told := l.changes(false); len(told) != 1 || told[0].To != 1000+ttl.Milliseconds() {
		t.Errorf("told of %v, want the end of the lease", told)
	}
	if l.age(now + 1); l.show("a") {
		t.Error("it is kept")
	}
}

// What anybody orders that is not on sale is in no lane.
func TestOrdersOfUnknownSKUsAreNotShown(t *testing.T) {
	h := newHouse(options{replicas: 1}, nil, nil)
	h.crew = &crew{}
	m := &member{}
	h.clerks, h.shows = []*clerk{{member: m}}, []*show{{sku: "show-1"}}
	for _, sku := range []string{"nothing", "show-1"} {
		h.heard(report{from: m, message: message{Kind: enters, SKU: sku, Run: 1}})
	}
	if h.lanes.show("nothing") || !h.lanes.show("show-1") {
		t.Errorf("lanes: %v", h.lanes.spans)
	}
}

// Only who was killed by a button is called so.
func TestReplicaThatEndsByItselfHasFailed(t *testing.T) {
	for killed, want := range map[bool]string{true: dead, false: failed} {
		h := newHouse(options{replicas: 1}, nil, nil)
		h.clerks = []*clerk{{state: selling, killed: killed}}
		h.died(0, context.DeadlineExceeded)
		if c := h.clerks[0]; c.state != want {
			t.Errorf("killed %t: it is %s", killed, c.state)
		}
		if told := strings.Contains(fmt.Sprint(h.log), context.DeadlineExceeded.Error()); told == killed {
			t.Errorf("killed %t: said %v", killed, h.log)
		}
	}
}
