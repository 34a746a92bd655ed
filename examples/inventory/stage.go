package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"
)

// perform holds both sales, prints the table, and returns what did not come
// out as promised. left tells what it could not remove.
func perform(ctx context.Context, o options, out io.Writer) (err, left error) {
	databases, err := openDatabases(ctx, o.db)
	if err != nil {
		return err, nil
	}
	defer func() { left = errors.Join(left, databases.destroy()) }()

	redis, err := openRedis(ctx, o.redis)
	if err != nil {
		return err, nil
	}
	defer func() { left = errors.Join(left, redis.close()) }()

	began := time.Now()
	s := &stage{options: o, databases: databases, redis: redis, say: func(format string, args ...any) {
		printf(out, "%5.1f s  %s\n", time.Since(began).Seconds(), fmt.Sprintf(format, args...))
	}}
	printf(out, "%d replicas sell %d tickets to %d buyers: look, think, write.\n", o.replicas, o.items, o.buyers)
	printf(out, "Redis: %s\nDatabase: %s\n", redis.what, databases.what)

	printf(out, "\nUnguarded:\n")
	unguarded, err := s.sale(ctx, false)
	if err != nil {
		return fmt.Errorf("unguarded sale: %w", err), nil
	}
	printf(out, "\nThe same code under guard.Do:\n")
	guarded, err := s.sale(ctx, true)
	if err != nil {
		return fmt.Errorf("guarded sale: %w", err), nil
	}

	printf(out, "\n%s\n", table(unguarded, guarded))
	if err := verdict(o.items, unguarded, guarded); err != nil {
		return err, nil
	}
	printf(out, "As promised: nothing oversold, and the stalled replica's write was refused.\n")
	return nil, nil
}

// stage is where sales are held.
type stage struct {
	options
	databases *databases
	redis     *server
	say       func(format string, args ...any) // one line of progress
}

// outcome is what came of a sale.
type outcome struct {
	guarded  bool
	sold     int
	oversold int
	refused  int // writes, by the database
	lost     int // leases
	books    books
	stall    stall
}

// sale holds one.
func (s *stage) sale(ctx context.Context, guarded bool) (outcome, error) {
	database, err := s.databases.create(ctx, map[bool]string{false: "unguarded", true: "guarded"}[guarded])
	if err != nil {
		return outcome{}, err
	}
	shop, err := openShop(database, 0)
	if err != nil {
		return outcome{}, err
	}
	defer shop.close()
	if err := errors.Join(shop.create(ctx), shop.stock(ctx, theTicket, s.items, guarded)); err != nil {
		return outcome{}, err
	}
	if err := s.sabotage.shop(ctx, shop, guarded); err != nil {
		return outcome{}, err
	}

	line, err := newLine(s.redis.addr) // of the one that will stall
	if err != nil {
		return outcome{}, err
	}
	defer line.close()
	crew, err := startCrew(ctx, s.parts(database, guarded, line.addr()))
	if err != nil {
		return outcome{}, err
	}
	defer crew.close()

	d := direction{stage: s, shop: shop, crew: crew, line: line, outcome: outcome{guarded: guarded}}
	if err := d.run(ctx); err != nil {
		return outcome{}, err
	}
	return d.outcome, nil
}

// parts hands out the parts. The first replica is the one that will stall.
func (s *stage) parts(database string, guarded bool, stalledRedis string) []part {
	// The guarded sale thinks one buyer after the other: for a second in all. If there are few
	// tickets, replicas that a busy machine starts one after the other still meet.
	think := min(max(time.Second/time.Duration(s.items), time.Millisecond), 500*time.Millisecond)
	parts := make([]part, s.replicas)
	for i := range parts {
		parts[i] = part{
			Name:     fmt.Sprintf("replica %d", i+1),
			Database: database,
			Think:    think,
			Guarded:  guarded && s.sabotage != withoutGuard,
			Redis:    s.redis.addr,
			Prefix:   s.redis.prefix,
			Verbose:  s.verbose,
		}
	}
	if guarded {
		parts[0].Stalls = true
		parts[0].Redis = stalledRedis
	}
	for buyer := range s.buyers {
		p := &parts[buyer%len(parts)]
		p.Buyers = append(p.Buyers, buyer)
	}
	return parts
}

// direction is a sale under way. All of it belongs to the goroutine of run.
type direction struct {
	*stage
	shop *shop
	crew *crew
	line *line

	outcome outcome
	soldOut int
	waiting []*member // ready, and without the order to begin
}

// run directs the sale until all replicas are done.
func (d *direction) run(ctx context.Context) error {
	const beat = 5 * time.Millisecond
	ticks := time.NewTicker(beat)
	defer ticks.Stop()
	spoken := time.Now()
	for d.crew.alive > 0 {
		r, ok, err := d.crew.next(ctx, ticks.C)
		if err != nil {
			return err
		}
		if ok {
			if err := d.heard(r); err != nil {
				return err
			}
		}
		if err := d.watchStall(ctx); err != nil {
			return err
		}
		if time.Since(spoken) > 500*time.Millisecond {
			spoken = time.Now()
			d.progress()
		}
	}
	d.progress()

	books, err := d.shop.books(ctx)
	if err != nil {
		return err
	}
	d.outcome.books = books
	d.outcome.sold = books.sold
	d.outcome.oversold = max(0, books.sold-d.items)
	return nil
}

func (d *direction) progress() {
	if d.outcome.stall.phase == stopped && d.outcome.sold == 0 {
		d.say("no replica can sell until the lease of %s has run out", d.outcome.stall.who.name)
		return
	}
	d.say("sold %d, sold out for %d", d.outcome.sold, d.soldOut)
}

// heard takes one report.
func (d *direction) heard(r report) error {
	switch r.Kind {
	case ready:
		return d.ready(r.from)
	case about:
		return d.stop(r.from, r.Token)
	case resumed:
		d.resumed(r.Lost)
	case sold:
		d.outcome.sold++
	case soldOut:
		d.soldOut++
	case refused:
		d.outcome.refused++
		d.refused(r.from)
	case lost:
		d.outcome.lost++
	}
	return nil
}

// ready begins when all are: with all of them at once, or if there is to be an
// accident, with the one that has it.
func (d *direction) ready(m *member) error {
	d.waiting = append(d.waiting, m)
	if len(d.waiting) < len(d.crew.members) {
		return nil
	}
	if !d.outcome.guarded {
		return d.begin()
	}
	unlucky := d.crew.members[0]
	d.waiting = slices.DeleteFunc(d.waiting, func(m *member) bool { return m == unlucky })
	return unlucky.order(goOn)
}

// begin orders all waiting members to go on.
func (d *direction) begin() error {
	for _, m := range d.waiting {
		if err := m.order(goOn); err != nil {
			return err
		}
	}
	d.waiting = nil
	return nil
}
