package main

import (
	"cmp"
	"slices"
	"time"
)

// history is how much of the leases the page shows.
const history = 12 * time.Second

// span is a sale under way or over: from its look at the stock until after its
// write, or until its lease has run out. Times are Unix ms.
type span struct {
	ID      int64  `json:"id"`
	SKU     string `json:"sku"`
	Who     int    `json:"who"`
	Token   int64  `json:"token"` // 0: without a guard
	From    int64  `json:"from"`
	To      int64  `json:"to"`             // 0: open
	Back    bool   `json:"back,omitempty"` // a compensation
	expires int64  // the lease, unless it is renewed; 0 without one
	told    bool   // that another replica has gone on
	gone    bool   // the process has died
	fresh   bool   // changed since the page was told
}

// until is where the span ends, as far as is known now.
func (s *span) until(now int64) int64 {
	if s.To == 0 {
		return now
	}
	return s.To
}

// overlap is a time in which two sales of one SKU were under way at once.
type overlap struct {
	SKU  string `json:"sku"`
	From int64  `json:"from"`
	To   int64  `json:"to"`
}

// overlaps finds them all. Those that follow each other at once are one.
func overlaps(spans []*span, now int64) []overlap {
	found := []overlap{}
	byStart := slices.SortedFunc(slices.Values(spans), func(a, b *span) int { return cmp.Compare(a.From, b.From) })
	ends := map[string]int64{} // of each SKU, the latest so far
	latest := map[string]int{} // of each SKU, its last one in found
	for _, s := range byStart {
		end, until := ends[s.SKU], s.until(now)
		if to := min(end, until); to > s.From {
			if i, ok := latest[s.SKU]; ok && found[i].To >= s.From {
				found[i].To = max(found[i].To, to)
			} else {
				latest[s.SKU] = len(found)
				found = append(found, overlap{s.SKU, s.From, to})
			}
		}
		ends[s.SKU] = max(end, until)
	}
	return found
}

// lanes keeps the spans.
type lanes struct {
	spans []*span
	open  map[laneKey]*span
	n     int64 // spans in all
}

// changes returns the spans that the page does not know as they are, or all.
func (l *lanes) changes(whole bool) []*span {
	changed := []*span{}
	for _, s := range l.spans {
		if s.fresh || whole {
			changed = append(changed, s)
		}
		s.fresh = false
	}
	return changed
}

func (s *span) end(at int64) { s.To, s.fresh = at, true }

type laneKey struct {
	who int
	run int64
}

// enter begins a span. A later token ends the lease under an earlier one; it had run
// out a moment ago, which we know to about the time of a renewal only, and of a process that died on a
// busy machine to less.
func (l *lanes) enter(who int, m message) {
	const doubt, more = 100, 500 // ms
	for _, s := range l.spans {
		limit := m.At + doubt
		if s.gone {
			limit = m.At + more
		}
		if s.SKU == m.SKU && s.To == 0 && s.expires > 0 && s.Token < m.Token && s.expires < limit {
			s.end(min(s.expires, m.At))
		}
	}
	l.n++
	s := &span{ID: l.n, SKU: m.SKU, Who: who, Token: m.Token, From: m.At, Back: m.Back, fresh: true}
	if m.Token > 0 {
		s.expires = m.At + ttl.Milliseconds()
	}
	l.spans = append(l.spans, s)
	l.open[laneKey{who, m.Run}] = s
}

func (l *lanes) leave(who int, m message) {
	key := laneKey{who, m.Run}
	if s := l.open[key]; s != nil && s.To == 0 {
		s.end(m.At)
	}
	delete(l.open, key)
}

func (l *lanes) renew(who int, m message) {
	for _, s := range l.open {
		if s.Who == who && s.SKU == m.SKU && s.Token == m.Token {
			s.expires = m.At + ttl.Milliseconds()
		}
	}
}

// gone ends what a process that has died leaves open: without a lease at once.
func (l *lanes) gone(who int, now int64) {
	for key, s := range l.open {
		if key.who != who {
			continue
		}
		if s.To == 0 && s.expires == 0 {
			s.end(now)
		}
		s.gone = true
		delete(l.open, key)
	}
}

// age ends leases that have run out, and forgets what the page no longer shows.
func (l *lanes) age(now int64) {
	l.spans = slices.DeleteFunc(l.spans, func(s *span) bool {
		if s.To == 0 && s.expires > 0 && s.expires < now {
			s.end(s.expires)
			return false // however long ago: the page has to hear of it
		}
		return s.To > 0 && s.To < now-history.Milliseconds()
	})
}

// inside returns what sales replica who has under way.
func (l *lanes) inside(who int) (skus []string) {
	skus = []string{}
	for key, s := range l.open {
		if key.who == who && !slices.Contains(skus, s.SKU) {
			skus = append(skus, s.SKU)
		}
	}
	slices.Sort(skus)
	return skus
}

// underWay reports whether a sale of a SKU has not ended.
func (l *lanes) underWay(sku string) bool {
	for _, s := range l.open {
		if s.SKU == sku {
			return true
		}
	}
	return false
}

// show reports whether the page shows a sale of a SKU.
func (l *lanes) show(sku string) bool {
	return slices.ContainsFunc(l.spans, func(s *span) bool { return s.SKU == sku })
}

// newest returns the token of the sale of a SKU that replica who has under way, or 0.
func (l *lanes) newest(who int, sku string) (token int64) {
	for key, s := range l.open {
		if key.who == who && s.SKU == sku {
			token = max(token, s.Token)
		}
	}
	return token
}

// inLine has the replicas that wait for a SKU's key, in order of arrival, once for
// each request.
type inLine map[string][]int

func (l inLine) join(sku string, who int) { l[sku] = append(l[sku], who) }

// leave takes the first request of replica who out of the line.
func (l inLine) leave(sku string, who int) {
	if i := slices.Index(l[sku], who); i >= 0 {
		l[sku] = slices.Delete(l[sku], i, i+1)
	}
	if len(l[sku]) == 0 {
		delete(l, sku)
	}
}

// gone takes a replica out that has died.
func (l inLine) gone(who int) {
	for sku, line := range l {
		l[sku] = slices.DeleteFunc(line, func(other int) bool { return other == who })
		if len(l[sku]) == 0 {
			delete(l, sku)
		}
	}
}

// replicas returns who waits for a SKU, each once.
func (l inLine) replicas(sku string) (all []int) {
	for _, who := range l[sku] {
		if !slices.Contains(all, who) {
			all = append(all, who)
		}
	}
	return all
}

// of returns the SKUs that replica who waits for.
func (l inLine) of(who int) (skus []string) {
	skus = []string{}
	for sku, line := range l {
		if slices.Contains(line, who) {
			skus = append(skus, sku)
		}
	}
	slices.Sort(skus)
	return skus
}
