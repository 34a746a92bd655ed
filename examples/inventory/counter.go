package main

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/otel/propagation"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/httpmw"
	"github.com/jobguard/jobguard/guard/sqlfence"
)

// counter is where orders come in. The middleware is all there is to guarding it: one
// sale at a time of each SKU, over all replicas.
func (b *branch) counter() http.Handler {
	once := httpmw.New(b.guard, httpmw.PathValue("sku"))
	mux := http.NewServeMux()
	mux.Handle("POST /skus/{sku}/orders", b.traced(taken(once(b.ordered(b.sell)))))
	mux.Handle("POST /unguarded/skus/{sku}/orders", b.traced(taken(b.ordered(b.sellUnguarded)))) // for comparison
	mux.Handle("GET /metrics", b.telemetry.handler())
	return private(mux)
}

// order is what a customer wants: one ticket.
type order struct {
	SKU   string `json:"sku"`
	Buyer int    `json:"buyer"`
}

// keyOf is the key that the middleware makes of a SKU in the path.
func keyOf(sku string) string { return guard.Key("sku", sku) }

// skuOf is its reverse. Other keys are of no SKU.
func skuOf(key string) (sku string, ok bool) { return strings.CutPrefix(key, "sku:") }

// sending is how long a buyer may take to send an order.
const sending = 2 * time.Second

type wanted struct{} // the key of the order in a context

// taken reads the order: the SKU in the path, and the buyer in the form. It does so before
// the key is taken, lest a buyer who sends slowly holds up all others.
func taken(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		conn := http.NewResponseController(w)
		if err := conn.SetReadDeadline(time.Now().Add(sending)); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		form, err := io.ReadAll(http.MaxBytesReader(w, req.Body, 1024))
		if err != nil {
			http.Error(w, "the order did not come whole: "+err.Error(), refusal(err))
			return
		}
		_ = conn.SetReadDeadline(time.Time{}) // if it fails, so does the connection
		req.Body = io.NopCloser(bytes.NewReader(form))
		buyer, err := strconv.Atoi(req.FormValue("buyer"))
		if err != nil || buyer < 1 {
			http.Error(w, "buyer must be a number from 1", http.StatusBadRequest)
			return
		}
		o := order{SKU: req.PathValue("sku"), Buyer: buyer}
		next.ServeHTTP(w, req.WithContext(context.WithValue(req.Context(), wanted{}, o)))
	})
}

// refusal is the status for an order that could not be read.
func refusal(err error) int {
	tooLong := (*http.MaxBytesError)(nil)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return http.StatusRequestTimeout
	case errors.As(err, &tooLong):
		return http.StatusRequestEntityTooLarge
	default:
		return http.StatusBadRequest
	}
}

// ordered is the handler that sells one ticket to the buyer of an order.
func (b *branch) ordered(sell func(context.Context, order) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		ctx := req.Context()
		o, _ := ctx.Value(wanted{}).(order) // taken is before us
		token, _ := guard.Fence(ctx)
		left := b.enter(o.SKU, token, false)
		err := sell(ctx, o)
		left()
		b.answer(ctx, w, o, token, err)
	})
}

// enter tells the stage that a SKU is worked on, and returns how to tell the end.
func (b *branch) enter(sku string, token int64, back bool) (leave func()) {
	run := b.runs.Add(1)
	b.say(message{Kind: enters, SKU: sku, Token: token, Run: run, Back: back})
	return func() { b.say(message{Kind: leaves, SKU: sku, Token: token, Run: run}) }
}

func (b *branch) answer(ctx context.Context, w http.ResponseWriter, o order, token int64, err error) {
	if err != nil && !errors.Is(err, errSoldOut) {
		b.log.InfoContext(ctx, "not sold", "sku", o.SKU, "buyer", o.Buyer, "token", token, "error", err)
	}
	switch {
	case err == nil:
		b.log.DebugContext(ctx, "sold", "sku", o.SKU, "buyer", o.Buyer, "token", token)
		w.WriteHeader(http.StatusCreated)
	case errors.Is(err, errSoldOut):
		http.Error(w, "sold out", http.StatusGone)
	case errors.Is(err, errDeclined):
		http.Error(w, "the card was declined", http.StatusPaymentRequired)
	case errors.Is(err, sqlfence.ErrStale):
		b.say(message{Kind: refused, SKU: o.SKU, Token: token})
		http.Error(w, "a later sale was here", http.StatusConflict)
	case errors.Is(err, sql.ErrNoRows):
		http.Error(w, "not on sale", http.StatusNotFound)
	case ctx.Err() != nil: // the middleware answers, or nobody listens
	default:
		http.Error(w, "the sale failed", http.StatusInternalServerError)
	}
}

// traced begins a span for each request, within the caller's trace if it has one.
func (b *branch) traced(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx := propagation.TraceContext{}.Extract(r.Context(), propagation.HeaderCarrier(r.Header))
		ctx, span := b.telemetry.tracer.Start(ctx, "POST /skus/{sku}/orders")
		defer span.End()
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// watcher reports to the stage what the guard of a replica does with SKUs.
type watcher struct {
	guard.ObserverDefaults
	say func(message)
}

func (o watcher) tell(kind, key string, token int64) {
	if sku, ok := skuOf(key); ok {
		o.say(message{Kind: kind, SKU: sku, Token: token})
	}
}

// AcquireStart implements [guard.Observer].
func (o watcher) AcquireStart(ctx context.Context, a guard.AcquireStart) context.Context {
	o.tell(waits, a.Key, 0)
	return ctx
}

// AcquireEnd implements [guard.Observer].
func (o watcher) AcquireEnd(_ context.Context, a guard.AcquireEnd) { o.tell(waited, a.Key, 0) }

// Event implements [guard.Observer].
func (o watcher) Event(_ context.Context, e guard.Event) {
	switch e.Kind {
	case guard.EventRenewed:
		o.tell(renewed, e.Key, e.Fence)
	case guard.EventLost:
		o.tell(lost, e.Key, e.Fence)
	}
}
