package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/httpmw"
	"github.com/jobguard/jobguard/guard/sqlfence"
)

// open sells over HTTP until ctx ends. The middleware is all there is to guarding
// it: one sale at a time of each SKU, over all replicas.
func (r *replica) open(ctx context.Context) error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("open the counter: %w", err)
	}
	once := httpmw.New(r.guard, httpmw.PathValue("sku"))
	order := http.HandlerFunc(r.order)
	mux := http.NewServeMux()
	mux.Handle("POST /skus/{sku}/orders", once(order))
	mux.Handle("POST /unguarded/skus/{sku}/orders", order) // for comparison
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	defer context.AfterFunc(ctx, func() { _ = srv.Close() })() // the process ends
	r.say(message{Kind: ready, Address: listener.Addr().String()})
	if err := srv.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// keyOf is the key that the middleware makes of a SKU in the path.
func keyOf(sku string) string { return guard.Key("sku", sku) }

func skuOf(key string) string { return strings.TrimPrefix(key, "sku:") }

// order sells one ticket of the SKU in the path to the buyer in the form.
func (r *replica) order(w http.ResponseWriter, req *http.Request) {
	ctx, sku := req.Context(), req.PathValue("sku")
	req.Body = http.MaxBytesReader(w, req.Body, 1024)
	buyer, err := strconv.Atoi(req.FormValue("buyer"))
	if err != nil || buyer < 1 {
		http.Error(w, "buyer must be a number from 1", http.StatusBadRequest)
		return
	}

	token, _ := guard.Fence(ctx)
	run := r.runs.Add(1)
	r.say(message{Kind: enters, SKU: sku, Token: token, Run: run})
	err = r.shop.buy(ctx, sku, buyer)
	r.say(message{Kind: leaves, SKU: sku, Token: token, Run: run})
	switch {
	case err == nil:
		w.WriteHeader(http.StatusCreated)
	case errors.Is(err, errSoldOut):
		http.Error(w, "sold out", http.StatusGone)
	case errors.Is(err, sqlfence.ErrStale):
		r.say(message{Kind: refused, SKU: sku, Token: token})
		http.Error(w, "a later sale was here", http.StatusConflict)
	case errors.Is(err, sql.ErrNoRows):
		http.Error(w, "not on sale", http.StatusNotFound)
	case ctx.Err() != nil: // the middleware answers, or nobody listens
	default:
		http.Error(w, "the sale failed", http.StatusInternalServerError)
	}
}

// watcher reports to the stage what the guard of a replica does.
type watcher struct {
	guard.ObserverDefaults
	say func(message)
}

// AcquireStart implements [guard.Observer].
func (o watcher) AcquireStart(ctx context.Context, a guard.AcquireStart) context.Context {
	o.say(message{Kind: waits, SKU: skuOf(a.Key)})
	return ctx
}

// AcquireEnd implements [guard.Observer].
func (o watcher) AcquireEnd(_ context.Context, a guard.AcquireEnd) {
	o.say(message{Kind: waited, SKU: skuOf(a.Key)})
}

// Event implements [guard.Observer].
func (o watcher) Event(_ context.Context, e guard.Event) {
	switch e.Kind {
	case guard.EventRenewed:
		o.say(message{Kind: renewed, SKU: skuOf(e.Key), Token: e.Fence})
	case guard.EventLost:
		o.say(message{Kind: lost, SKU: skuOf(e.Key), Token: e.Fence})
	}
}
