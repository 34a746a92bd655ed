package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jobguard/jobguard/guard/journal/record"
	"github.com/jobguard/jobguard/guard/lease"
	"github.com/jobguard/jobguard/guard/lease/redisstore"
)

// house is the shop that serves. But for feed and market, which have locks of their
// own, it belongs to the goroutine of tend.
type house struct {
	options
	shop    *shop
	store   *redisstore.Store // to look at leases
	feed    *feed
	market  *market
	actions chan action
	crew    *crew

	clerks  []*clerk
	lanes   lanes
	inLine  inLine
	holders map[string]holding // of the SKUs on sale, as Redis had it when last asked
	shows   []*show            // that are on sale, or were a minute ago
	trouble time.Time          // since when the database does not answer; zero if it does
	staged  int                // shows in all
	past    [2]tally           // of the others, without and with the guard
	current [slots]*show
	guarded bool
	refused int
	lost    int
	putBack int // tickets, by compensations
	office  office
	closed  bool   // nobody watched when the books were last kept: office is older
	untidy  bool   // shows were forgotten that are in the database
	done    office // what is no longer there
	log     []entry
	logged  int // lines in all
	told    int // that the page has
	decline decline
	boot    string
	frames  int
}

// holding is who has a key, and until when if the lease is not renewed.
type holding struct {
	lease.Holder
	until time.Time
}

// clerk is a replica that serves.
type clerk struct {
	part   part
	line   *line
	member *member
	state  string
	token  int64 // under which it was about to write when it was stalled; 0: without a guard
	cut    bool
	killed bool // by a button
	again  bool // it is to be started again when it is dead
}

// decline is what is said of cards that are declined, one in a while: there are many.
type decline struct {
	last time.Time // that it was said
	n    int       // since then
}

// States of a clerk.
const (
	starting = "starting"
	selling  = "selling"
	stalling = "about to stall" // at its next write
	stalled  = "stalled"
	ending   = "about to die" // killed, and its end not heard of yet
	dead     = "killed"
	failed   = "failed" // and is dead, but not by a button
)

// show is a SKU.
type show struct {
	sku      string
	slot     int
	guarded  bool
	stocked  int
	sold     int
	left     int // as the stock says
	closes   time.Time
	finished time.Time // after which only a sale that is still under way changes anything; zero while it is on sale
}

// entry is a line of the page's log.
type entry struct {
	N    int    `json:"n"`
	At   int64  `json:"at"` // Unix ms
	Text string `json:"text"`
}

func newHouse(o options, s *shop, store *redisstore.Store) *house {
	names := make([]string, o.replicas)
	for i := range names {
		names[i] = fmt.Sprintf("replica %d", i+1)
	}
	return &house{
		options: o, shop: s, store: store, feed: newFeed(), actions: make(chan action), guarded: true,
		market: &market{soldOut: make(chan string), names: names, open: make([]string, o.replicas), away: make([]bool, o.replicas)},
		lanes:  lanes{open: map[laneKey]*span{}}, inLine: inLine{}, holders: map[string]holding{},
		log:  []entry{},
		boot: fmt.Sprint(time.Now().UnixNano()),
	}
}

// hire starts the replicas, each with its own line to Redis.
func (h *house) hire(ctx context.Context, redis *server, database string) (err error) {
	if h.crew, err = startCrew(context.WithoutCancel(ctx), nil); err != nil { // close ends it
		return err
	}
	for i := range h.replicas {
		l, err := newLine(redis.addr)
		if err != nil {
			return err
		}
		c := &clerk{line: l, part: part{
			Name: h.market.names[i], Database: database, Think: serveThink,
			Guarded: true, Serves: true, Redis: l.addr(), Prefix: redis.prefix, Queue: redis.queue, Verbose: h.verbose,
		}}
		h.clerks = append(h.clerks, c)
		if err := h.start(c); err != nil {
			return err
		}
	}
	return nil
}

func (h *house) start(c *clerk) error {
	m, err := h.crew.start(c.part)
	if err != nil {
		return err
	}
	c.state, c.member, c.killed, c.again = starting, m, false, false
	return nil
}

// close ends what hire began. Replicas end their work first, for a few seconds. Errors are
// of those that did not.
func (h *house) close() (err error) {
	if h.crew != nil {
		var members []*member
		for _, c := range h.clerks {
			switch {
			case c.member == nil || c.killed:
			case c.state == stalled:
				_ = c.member.cmd.Process.Kill() // it cannot do anything
			default:
				c.line.mend() // it has to release what it holds
				members = append(members, c.member)
			}
		}
		err = h.crew.dismiss(members, 5*time.Second)
	}
	for _, c := range h.clerks {
		c.line.close()
	}
	return err
}

func (h *house) say(format string, args ...any) {
	h.logged++
	h.log = append(h.log, entry{h.logged, time.Now().UnixMilli(), fmt.Sprintf(format, args...)})
	h.log = h.log[max(0, len(h.log)-50):]
}

// place returns the number of the clerk that a report is from.
func (h *house) place(m *member) (i int, ok bool) {
	for i, c := range h.clerks {
		if c.member == m {
			return i, true
		}
	}
	return 0, false
}

// heard takes one report.
func (h *house) heard(r report) {
	i, ok := h.place(r.from)
	if r.exited {
		h.crew.alive--
	}
	if !ok {
		return // of one that was replaced
	}
	c := h.clerks[i]
	if r.exited {
		h.died(i, r.err)
		return
	}
	switch r.Kind {
	case ready:
		if c.state == ending {
			return
		}
		c.state = selling
		h.opens(i, r.Address)
		h.say("%s sells", c.part.Name)
	case waits:
		h.inLine.join(r.SKU, i)
	case waited:
		h.inLine.leave(r.SKU, i)
	case enters:
		if h.known(r.SKU) { // anybody may order whatever
			h.lanes.enter(i, r.message)
		}
	case leaves:
		h.lanes.leave(i, r.message)
		h.takeover(i, r.message)
	case renewed:
		h.lanes.renew(i, r.message)
	case about:
		h.halted(i, r.Token)
	case resumed:
		h.resumed(c, r.Lost)
	case refused:
		h.refused++
		h.say("the database refuses the late write of %s under token %s: a later sale was here", c.part.Name, short(r.Token))
	case lost:
		h.lost++
		h.say("%s has lost its lease of %s", c.part.Name, r.SKU)
	case compensated:
		h.compensated(c, r.message)
	}
}

func (h *house) known(sku string) bool {
	return slices.ContainsFunc(h.shows, func(s *show) bool { return s.sku == sku })
}

// compensated tells of a sale that was taken back, and counts it if there was one.
func (h *house) compensated(c *clerk, m message) {
	if m.Tickets == 0 {
		h.say("%s looked after a sale of %s (%s): nothing was written, nothing to put back", c.part.Name, m.SKU, m.Reason)
		return
	}
	h.putBack += m.Tickets
	if m.Reason != string(record.Failed) {
		h.say("%s put a ticket of %s back: the sale was %s", c.part.Name, m.SKU, m.Reason)
		return
	}
	const often = 30 * time.Second
	h.decline.n++
	if time.Since(h.decline.last) < often {
		return
	}
	more := ""
	if n := h.decline.n - 1; n > 0 {
		more = fmt.Sprintf(" (%d more failed in the last %.0f s)", n, time.Since(h.decline.last).Seconds())
	}
	h.say("%s put a ticket of %s back: the sale failed%s", c.part.Name, m.SKU, more)
	h.decline = decline{last: time.Now()}
}

func (h *house) died(i int, why error) {
	c := h.clerks[i]
	if !c.killed && why != nil {
		h.say("%v", why)
	}
	if c.state == stalled && !c.cut {
		c.line.mend() // where processes cannot be stopped, their line was cut
	}
	c.state = failed
	if c.killed {
		c.state = dead
	}
	h.inLine.gone(i)
	h.lanes.gone(i, time.Now().UnixMilli())
	h.opens(i, "")
	h.sends(i)
	h.say("%s is dead; its leases run out by themselves", c.part.Name)
	if c.again {
		c.again = false
		if err := h.start(c); err != nil {
			h.say("%s cannot be started: %v", c.part.Name, err)
		}
	}
}

// opens tells the buyers where a replica is.
func (h *house) opens(i int, address string) {
	h.market.mu.Lock()
	defer h.market.mu.Unlock()
	h.market.open[i] = address
}

// sends tells the door whether to send orders to a replica.
func (h *house) sends(i int) {
	h.market.mu.Lock()
	defer h.market.mu.Unlock()
	h.market.away[i] = h.clerks[i].cut || h.clerks[i].state == stalled
}

// halted stops a replica that is about to write.
func (h *house) halted(i int, token int64) {
	c := h.clerks[i]
	if c.state == ending {
		return
	}
	if err := halt(c.member.cmd.Process, c.line); err != nil {
		h.say("%s cannot be stalled: %v", c.part.Name, err)
		return
	}
	c.state, c.token = stalled, token
	h.sends(i)
	if token == 0 {
		h.say("%s is stalled right before its write, without a guard", c.part.Name)
		return
	}
	h.say("%s is stalled right before its write, with token %s", c.part.Name, short(token))
}

// takeover tells of a sale that went on where a stalled replica held the key of its write. It
// is told at its end, when it has sealed the stock: before that a late write is not refused.
func (h *house) takeover(i int, m message) {
	for _, s := range h.lanes.open {
		if c := h.clerks[s.Who]; s.Who != i && c.state == stalled && s.SKU == m.SKU && s.Token > 0 && s.Token == c.token && !s.told && m.Token > s.Token {
			s.told = true
			h.say("the lease of %s on %s ran out; %s goes on with token %s. Let %s go on to see its late write",
				c.part.Name, m.SKU, h.clerks[i].part.Name, short(m.Token), c.part.Name)
		}
	}
}

func (h *house) resumed(c *clerk, lost bool) {
	if lost {
		h.say("%s goes on: its context says that the lease is lost, and it writes regardless", c.part.Name)
		return
	}
	h.say("%s goes on and writes", c.part.Name)
}

// short is the end of a token, by which people tell tokens apart.
func short(token int64) string {
	text := fmt.Sprint(token)
	return "…" + text[max(0, len(text)-6):]
}
