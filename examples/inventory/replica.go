package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/lease/redisstore"
	"github.com/jobguard/jobguard/guard/sqlfence"
)

// replicaEnv carries a replica's part to a child process of the same binary.
const replicaEnv = "INVENTORY_REPLICA"

const (
	ttl   = 2 * time.Second
	tills = 8 // buyers that a replica serves at once
	tries = 5 // when leases are lost

	theTicket = "ticket" // the one SKU of the story
)

// part is what a replica has to do.
type part struct {
	Name     string
	Database string
	Think    time.Duration
	Buyers   []int
	Guarded  bool
	Redis    string
	Prefix   string
	Queue    string // of tasks
	Stalls   bool   // there will be an accident when it serves its first buyer
	Serves   bool   // over HTTP, whoever comes, until the stage ends it
	Verbose  bool
}

// message is what a replica reports to the stage, a line of JSON each.
type message struct {
	Kind  string
	Token int64 `json:",omitempty"` // about: under which the replica is going to write
	Lost  bool  `json:",omitempty"` // resumed: what the first look at the context said

	// Only if it serves.
	At      int64  `json:",omitempty"` // Unix time in ms
	Address string `json:",omitempty"` // ready: where it serves
	SKU     string `json:",omitempty"`
	Run     int64  `json:",omitempty"` // enters, leaves: tells what one replica does apart
	Back    bool   `json:",omitempty"` // enters: a compensation
	Reason  string `json:",omitempty"` // compensated: why
	Tickets int    `json:",omitempty"` // compensated: put back
}

const (
	ready   = "ready"    // waits for the sale to begin
	about   = "about"    // is about to write, and waits for the accident to be over
	resumed = "resumed"  // is over it, and is going to write
	sold    = "sold"     // to a buyer
	soldOut = "sold out" // a buyer went home without
	refused = "refused"  // a write, by the database
	lost    = "lost"     // a lease

	waits   = "waits"   // for the key of a SKU
	waited  = "waited"  // and has it, or has given up
	enters  = "enters"  // a sale or a compensation, under Token or without
	leaves  = "leaves"  // it, still under its key
	renewed = "renewed" // the lease of a SKU

	compensated = "compensated" // a sale that did not end well
)

// replica is one process of the shop.
type replica struct {
	part
	shop  *shop
	guard *guard.Guard // nil: sells without

	orders <-chan struct{} // one for each goOn on standard input, closed at its end

	mu  sync.Mutex // guards out
	out *json.Encoder
}

// replicaMain runs the process.
func replicaMain(script string) int {
	// Signals to the stage reach us too, but the stage ends us. To ignore Ctrl-C is not
	// enough on Windows: it takes somebody who is told.
	signal.Notify(make(chan os.Signal, 1), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	r := &replica{out: json.NewEncoder(os.Stdout)}
	if err := r.run(ctx, script, cancel); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func (r *replica) run(ctx context.Context, script string, gone func()) (err error) {
	if err := json.Unmarshal([]byte(script), &r.part); err != nil {
		return fmt.Errorf("%s: %w", replicaEnv, err)
	}
	if r.shop, err = openShop(r.Database, r.Think); err != nil {
		return err
	}
	defer r.shop.close()
	accident := r.accident
	r.orders = orders(os.Stdin, func() { r.shop.accident.Store(&accident) }, gone)

	if r.Serves {
		return r.open(ctx)
	}
	if r.Guarded {
		opts := []guard.Option{guard.Name("stock")}
		if r.Verbose {
			log := slog.New(slog.NewTextHandler(os.Stderr, nil)).With("replica", r.Name)
			opts = append(opts, guard.Observe(guard.LogObserver(log)))
		}
		closeRedis, err := r.protect(opts...)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, r.guard.Shutdown(ctx), closeRedis()) }()
	}
	r.say(message{Kind: ready})
	if _, ok := <-r.orders; !ok {
		return errors.New("the stage is gone")
	}
	return r.serveAll(ctx)
}

// protect makes the guard. closeRedis comes after its Shutdown.
func (r *replica) protect(opts ...guard.Option) (closeRedis func() error, err error) {
	client := redis.NewClient(redisOptions(r.Redis))
	store := redisstore.New(client, redisstore.Prefix(r.Prefix), redisstore.Owner(r.Name))
	r.guard, err = guard.New(store, append(opts, guard.TTL(ttl))...)
	if err != nil {
		return nil, errors.Join(err, client.Close())
	}
	return client.Close, nil
}

// serveAll serves all buyers, several at once. The first error ends it.
func (r *replica) serveAll(ctx context.Context) error {
	buyers := r.Buyers
	if r.Stalls {
		accident := r.accident
		r.shop.accident.Store(&accident)
		if err := r.serve(ctx, buyers[0]); err != nil {
			return err
		}
		buyers = buyers[1:]
	}

	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	queue := make(chan int)
	var wg sync.WaitGroup
	for range tills {
		wg.Go(func() { // ends with the queue
			for buyer := range queue {
				if err := r.serve(ctx, buyer); err != nil {
					fail(err)
				}
			}
		})
	}
	for _, buyer := range buyers {
		queue <- buyer
	}
	close(queue)
	wg.Wait()
	return context.Cause(ctx)
}

// sell sells one ticket: this is all there is to guarding it. The same key in
// every replica means that one of them at a time looks, thinks and writes.
func (r *replica) sell(ctx context.Context, buyer int) error {
	if r.guard == nil {
		return r.shop.buy(ctx, theTicket, buyer)
	}
	return r.guard.Do(ctx, guard.Key("stock", theTicket), func(ctx context.Context) error {
		return r.shop.buy(ctx, theTicket, buyer)
	})
}

// serve sells one ticket, and tries again where that is the thing to do.
func (r *replica) serve(ctx context.Context, buyer int) error {
	for try := 1; ; try++ {
		err := r.sell(ctx, buyer)
		if errors.Is(err, sqlfence.ErrStale) {
			r.say(message{Kind: refused})
		}
		if errors.Is(err, guard.ErrLost) {
			r.say(message{Kind: lost})
		}
		switch {
		case err == nil:
			r.say(message{Kind: sold})
			return nil
		case errors.Is(err, errSoldOut):
			r.say(message{Kind: soldOut})
			return nil
		case errors.Is(err, guard.ErrLost) && try < tries:
			// The sale was perhaps made, perhaps not: buy can be repeated.
		default:
			return fmt.Errorf("serve buyer %d: %w", buyer, err)
		}
	}
}

// accident is the moment at which the stage stops this process: after every
// check, right before the write.
func (r *replica) accident(ctx context.Context, token int64) {
	r.say(message{Kind: about, Token: token})
	<-r.orders
	noticed := ctx.Err() != nil && errors.Is(context.Cause(ctx), guard.ErrLost)
	r.say(message{Kind: resumed, Lost: noticed})
}

func (r *replica) say(m message) {
	if r.Serves {
		m.At = time.Now().UnixMilli()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	_ = r.out.Encode(m) // if the stage is gone, the end of standard input says so
}

// What the stage says, a line each.
const (
	goOn       = "go on"
	stallOrder = "stall" // at the next write
)

// orders reads the lines that the stage sends, on a goroutine that ends with the
// process. gone is called when the stage is no more.
func orders(in io.Reader, stall, gone func()) <-chan struct{} {
	ch := make(chan struct{})
	go func() {
		for lines := bufio.NewScanner(in); lines.Scan(); {
			if lines.Text() == stallOrder {
				stall()
				continue
			}
			ch <- struct{}{}
		}
		gone()
		close(ch)
	}()
	return ch
}
