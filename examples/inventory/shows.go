package main

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// setGuard takes the guard away, or puts it back, with new SKUs on both sides: what
// was sold with and without it is never mixed.
func (h *house) setGuard(on string) error {
	if on != "on" && on != "off" {
		return fmt.Errorf("guard %q: must be on or off", on)
	}
	if h.guarded == (on == "on") {
		return nil
	}
	h.guarded = on == "on"
	now := time.Now()
	for _, s := range h.current {
		if s != nil {
			s.closes = now
		}
	}
	h.say("the guard is %s", on)
	return nil
}

// soldOut closes a SKU soon, when the sales that are under way are over.
func (h *house) soldOut(sku string) {
	for _, s := range h.current {
		if s != nil && s.sku == sku && s.closes.IsZero() {
			s.closes = time.Now().Add(500 * time.Millisecond)
		}
	}
}

// rotate puts new SKUs on sale where there is none, or one that is sold out.
func (h *house) rotate(ctx context.Context, now time.Time) error {
	for slot, s := range h.current {
		if s != nil && (s.closes.IsZero() || now.Before(s.closes)) {
			continue
		}
		if s != nil {
			s.finished = now.Add(time.Minute) // for sales that come late
		}
		h.staged++
		next := &show{sku: fmt.Sprintf("show-%d", h.staged), slot: slot, guarded: h.guarded, stocked: h.items, left: h.items}
		if err := h.shop.stock(ctx, next.sku, next.stocked, next.guarded); err != nil {
			return err
		}
		h.shows = append(h.shows, next)
		h.current[slot] = next
		h.market.mu.Lock()
		h.market.offers[slot] = offer{next.sku, next.guarded}
		h.market.mu.Unlock()
	}
	return nil
}

// keepBooks is what the house has to do in the database, a few times a second.
func (h *house) keepBooks(ctx context.Context, now time.Time, watched bool) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if err := h.rotate(ctx, now); err != nil {
		return err
	}
	if err := h.count(ctx); err != nil {
		return err
	}
	if h.forget(now) {
		h.untidy = true
	}
	if h.untidy {
		if err := h.tidy(ctx, now); err != nil {
			return err
		}
		h.untidy = false
	}
	if h.closed = !watched; h.closed {
		return nil
	}
	o, err := h.shop.office(ctx)
	if err != nil {
		return err
	}
	h.office = o.plus(h.done)
	return nil
}

// outage lets the house go on for a while without its database. err is what it has just
// met there, nil if all went well.
func (h *house) outage(err error, now time.Time) error {
	const most = 30 * time.Second
	switch {
	case err == nil && !h.trouble.IsZero():
		h.trouble = time.Time{}
		h.say("the database answers again")
	case err == nil:
	case h.trouble.IsZero():
		h.trouble = now
		h.say("%v: trying again", err)
	case now.Sub(h.trouble) > most:
		return fmt.Errorf("after %v: %w", most, err)
	}
	return nil
}

// count reads from the database what was sold.
func (h *house) count(ctx context.Context) error {
	type counts struct{ left, sold int }
	found := map[string]counts{}
	rows, err := h.shop.db.QueryContext(ctx, `SELECT sku, tickets, (SELECT count(*) FROM sales WHERE sales.sku = stock.sku) FROM stock`)
	if err != nil {
		return fmt.Errorf("count what was sold: %w", err)
	}
	defer func() { _ = rows.Close() }() // Err below
	for rows.Next() {
		var sku string
		var c counts
		if err := rows.Scan(&sku, &c.left, &c.sold); err != nil {
			return fmt.Errorf("count what was sold: %w", err)
		}
		found[sku] = c
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("count what was sold: %w", err)
	}
	for _, s := range h.shows {
		if c, ok := found[s.sku]; ok {
			s.left, s.sold = c.left, c.sold
		}
	}
	return nil
}

// forget keeps only the sums of shows that are over, and tells whether there were any. One
// whose sale is stalled may still be oversold, and one that the page shows has its lane.
func (h *house) forget(now time.Time) (some bool) {
	n := len(h.shows)
	h.shows = slices.DeleteFunc(h.shows, func(s *show) bool {
		over := !s.finished.IsZero() && now.After(s.finished) && !h.lanes.underWay(s.sku) && !h.lanes.show(s.sku)
		if over {
			h.pastOf(s.guarded).add(s)
		}
		return over
	})
	return len(h.shows) < n
}

// tidy removes from the database what is forgotten, lest it grows for as long as the house
// is open.
func (h *house) tidy(ctx context.Context, now time.Time) error {
	var kept []string
	for _, s := range h.shows {
		kept = append(kept, s.sku)
	}
	done, err := h.shop.tidy(ctx, kept, now.Add(-time.Minute))
	if err != nil {
		return err
	}
	h.done = done.plus(h.done)
	return nil
}

func (h *house) pastOf(guarded bool) *tally {
	if guarded {
		return &h.past[1]
	}
	return &h.past[0]
}

// lookAtLeases asks Redis who holds the keys. Where it cannot say, nobody is shown.
func (h *house) lookAtLeases(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
	defer cancel()
	clear(h.holders)
	for _, s := range h.current {
		if s == nil {
			continue
		}
		if found, err := h.store.FindHolder(ctx, keyOf(s.sku)); err == nil && found.Owner != "" {
			h.holders[s.sku] = holding{found, time.Now().Add(found.Remaining)}
		}
	}
}

// view is all that the page shows.
type view struct {
	Boot     string         `json:"boot"` // differs after a restart
	Now      int64          `json:"now"`  // Unix ms
	Guard    bool           `json:"guard"`
	TTL      int64          `json:"ttl"` // ms
	Replicas []replicaView  `json:"replicas"`
	Keys     []keyView      `json:"keys"`
	With     tally          `json:"with"`
	Without  tally          `json:"without"`
	Whole    bool           `json:"whole"`    // all spans and log entries, not only those that are new
	Spans    []*span        `json:"spans"`    // that have changed
	Overlaps []overlap      `json:"overlaps"` // all
	Lanes    map[string]int `json:"lanes"`    // of the SKUs
	Log      []entry        `json:"log"`
	Office   office         `json:"office"`
}

type replicaView struct {
	Name  string   `json:"name"`
	State string   `json:"state"`
	Cut   bool     `json:"cut"`
	Sells []string `json:"sells"`
	Waits []string `json:"waits"`
}

type keyView struct {
	SKU     string   `json:"sku"`
	Guarded bool     `json:"guarded"`
	Left    int      `json:"tickets"`
	Holder  string   `json:"holder"`
	Token   string   `json:"token"`
	Remains int64    `json:"remains"` // ms
	Waiting []string `json:"waiting"`
}

type tally struct {
	Stocked  int `json:"stocked"`
	Sold     int `json:"sold"`
	Oversold int `json:"oversold"`
	Refused  int `json:"refused"`
	Lost     int `json:"lost"`
	PutBack  int `json:"putBack"`
}

func (h *house) view(now time.Time, whole bool) view {
	v := view{
		Replicas: []replicaView{}, Keys: []keyView{},
		Boot: h.boot, Now: now.UnixMilli(), Guard: h.guarded, TTL: ttl.Milliseconds(),
		With: h.tally(true), Without: h.tally(false),
		Whole: whole, Spans: h.lanes.changes(whole), Overlaps: overlaps(h.lanes.spans, now.UnixMilli()), Log: h.entries(whole),
		Lanes: map[string]int{},
	}
	v.With.Refused, v.With.Lost, v.With.PutBack, v.Office = h.refused, h.lost, h.putBack, h.office
	for i, c := range h.clerks {
		v.Replicas = append(v.Replicas, replicaView{
			Name: c.part.Name, State: c.state, Cut: c.cut, Sells: h.lanes.inside(i), Waits: h.inLine.of(i),
		})
	}
	for _, s := range h.current {
		if s != nil {
			v.Keys = append(v.Keys, h.key(s, now))
		}
	}
	for _, s := range h.shows {
		v.Lanes[s.sku] = s.slot
	}
	return v
}

// entries returns what is new in the log, or all of it.
func (h *house) entries(whole bool) []entry {
	said := len(h.log)
	if !whole {
		said = min(said, h.logged-h.told)
	}
	h.told = h.logged
	return h.log[len(h.log)-said:]
}

func (h *house) key(s *show, now time.Time) keyView {
	k := keyView{SKU: s.sku, Guarded: s.guarded, Left: s.left, Waiting: []string{}}
	if holder, ok := h.holders[s.sku]; ok {
		k.Holder, k.Remains = holder.Owner, max(0, min(holder.Remaining, holder.until.Sub(now)).Milliseconds())
		token := holder.Token
		for i, c := range h.clerks {
			if c.part.Name == holder.Owner && token == 0 {
				token = h.lanes.newest(i, s.sku)
			}
		}
		if token > 0 {
			k.Token = short(token)
		}
	}
	for _, i := range h.inLine.replicas(s.sku) {
		k.Waiting = append(k.Waiting, h.clerks[i].part.Name)
	}
	return k
}

// tally adds up what was sold on one side.
func (h *house) tally(guarded bool) tally {
	t := *h.pastOf(guarded)
	for _, s := range h.shows {
		if s.guarded == guarded {
			t.add(s)
		}
	}
	return t
}

func (t *tally) add(s *show) {
	t.Stocked += s.stocked
	t.Sold += s.sold
	t.Oversold += max(0, s.sold-s.stocked)
}
