package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/jobguard/jobguard/guard/lease/redisstore"
)

const (
	frame      = time.Second / 30       // between two views
	serveThink = 120 * time.Millisecond // of a sale
)

// serve opens the shop and its page, until ctx ends. left tells what it could not remove.
func serve(ctx context.Context, o options, out, stderr io.Writer) (err, left error) {
	databases, err := openDatabases(ctx, o.db)
	if err != nil {
		return err, nil
	}
	defer func() { left = errors.Join(left, databases.destroy()) }()
	server, err := openRedis(ctx, o.redis)
	if err != nil {
		return err, nil
	}
	defer func() { left = errors.Join(left, server.close()) }()
	database, err := databases.create(ctx, "shop")
	if err != nil {
		return err, nil
	}
	shop, err := openShop(database, 0)
	if err != nil {
		return err, nil
	}
	defer shop.close()
	if err := shop.create(ctx); err != nil {
		return err, nil
	}
	client := redis.NewClient(redisOptions(server.addr))
	defer func() { _ = client.Close() }() // nothing is left to be sent

	h := newHouse(o, shop, redisstore.New(client, redisstore.Prefix(server.prefix)))
	defer func() {
		if err := h.close(); err != nil {
			printf(stderr, "inventory: did not end in order: %v\n", err)
		}
	}()
	listener, err := net.Listen("tcp", o.listen)
	if err != nil {
		return fmt.Errorf("open the page: %w (-listen takes another address)", err), nil
	}
	defer func() { _ = listener.Close() }() // the server has, unless it never began
	if err := h.hire(ctx, server, database); err != nil {
		return err, nil
	}
	printf(out, "%d replicas sell. Redis: %s. Database: %s.\nWatch, and break things: http://%s/\n", o.replicas, server.what, databases.what, reachable(listener.Addr()))
	return h.run(ctx, listener), nil
}

// reachable is an address to open on this machine: of a listener at all of them, the
// loopback's.
func reachable(addr net.Addr) string {
	if tcp, ok := addr.(*net.TCPAddr); ok && tcp.IP.IsUnspecified() {
		return net.JoinHostPort("127.0.0.1", strconv.Itoa(tcp.Port))
	}
	return addr.String()
}

// run serves the page, sends the buyers and tends the house until ctx ends.
func (h *house) run(ctx context.Context, listener net.Listener) error {
	ctx, cancel := context.WithCancelCause(ctx)
	var wg sync.WaitGroup
	defer wg.Wait() // for the buyers and the page, which cancel ends
	defer cancel(nil)
	names := []string{}
	if name, err := os.Hostname(); err == nil {
		names = append(names, name)
	}
	if name, _, err := net.SplitHostPort(h.listen); err == nil && name != "" {
		names = append(names, name)
	}
	page, err := handler(h.feed, h.market, h.actions, names...)
	if err != nil {
		return err
	}
	srv := &http.Server{
		Handler: page, ReadHeaderTimeout: 5 * time.Second,
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	wg.Go(func() {
		if err := srv.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			cancel(err)
		}
	})
	wg.Go(func() {
		<-ctx.Done()
		_ = srv.Close() // watchers come back by themselves
	})
	for i := range h.clerks {
		for range queues {
			wg.Go(func() { h.market.shop(ctx, i) })
		}
	}
	defer h.market.client.CloseIdleConnections()

	err = h.tend(ctx)
	if errors.Is(err, errInterrupted) {
		return nil
	}
	return err
}

// tend is the goroutine to which the house belongs.
func (h *house) tend(ctx context.Context) error {
	frames := time.NewTicker(frame)
	defer frames.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case r := <-h.crew.reports:
			h.heard(r)
		case a := <-h.actions:
			a.done <- h.act(a)
		case sku := <-h.market.soldOut:
			h.soldOut(sku)
		case <-frames.C:
			err = h.frame(ctx)
		}
		if err != nil && ctx.Err() == nil {
			return err
		}
	}
}

// frame is what is to be done many times a second.
func (h *house) frame(ctx context.Context) error {
	h.frames++
	now := time.Now()
	h.lanes.age(now.UnixMilli())
	watched, whole := h.feed.wanted()
	due := h.frames%8 == 1 || watched && h.closed        // the first view shows the office as it is now
	if due && (h.trouble.IsZero() || h.frames%64 == 1) { // buttons wait while a database hangs
		if err := h.outage(h.keepBooks(ctx, now, watched), now); err != nil {
			return err
		}
	}
	if h.frames%3 == 0 {
		h.lookAtLeases(ctx)
	}
	if !watched {
		return nil
	}
	view, err := json.Marshal(h.view(time.Now(), whole))
	if err != nil {
		return err
	}
	h.feed.publish(view, whole)
	return nil
}
