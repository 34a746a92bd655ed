package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	slots  = 2 // SKUs on sale at once
	queues = 3 // buyers at each replica at once
)

// market is where buyers and replicas meet.
type market struct {
	client  http.Client
	buyers  atomic.Int64 // numbers given out
	turn    atomic.Int64
	soldOut chan string // SKUs, to the goroutine of serve
	names   []string    // of the replicas

	mu     sync.Mutex // guards what follows
	offers [slots]offer
	open   []string // addresses of the replicas; "" if one is not there
	away   []bool   // and which of them cannot sell: those that are stalled or cut off
}

// offer is a SKU on sale, with its orders guarded or not.
type offer struct {
	sku     string
	guarded bool
}

// pathLocked is that of the orders of a SKU, at a replica. Without a guard are those only
// that are on sale so.
func (m *market) pathLocked(sku string) string {
	for _, o := range m.offers {
		if o.sku == sku && !o.guarded {
			return "/unguarded/skus/" + sku + "/orders"
		}
	}
	return "/skus/" + sku + "/orders"
}

// target returns where the orders of the SKU in a slot go at a replica, and the SKU.
func (m *market) target(replica int, slot int) (u *url.URL, sku string, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	sku = m.offers[slot].sku
	if m.open[replica] == "" || sku == "" {
		return nil, "", false
	}
	return &url.URL{Scheme: "http", Host: m.open[replica], Path: m.pathLocked(sku)}, sku, true
}

// shop is a place in line at a replica: one buyer after the other, until ctx ends.
func (m *market) shop(ctx context.Context, replica int) {
	for ctx.Err() == nil {
		wait := 50*time.Millisecond + rand.N(300*time.Millisecond)
		if u, sku, ok := m.target(replica, rand.IntN(slots)); ok && !m.order(ctx, u, sku) {
			wait = 300 * time.Millisecond
		}
		_ = pause(ctx, wait) // the loop looks
	}
}

// order tells whether there was an answer that made sense.
func (m *market) order(ctx context.Context, u *url.URL, sku string) bool {
	form := fmt.Sprintf("buyer=%d", m.buyers.Add(1))
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), strings.NewReader(form))
	if err != nil {
		return false
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := m.client.Do(req)
	if err != nil {
		return false
	}
	_ = resp.Body.Close() // the status is all we look at
	if resp.StatusCode == http.StatusGone {
		select {
		case m.soldOut <- sku:
		case <-ctx.Done():
		}
	}
	return resp.StatusCode < http.StatusInternalServerError && resp.StatusCode != http.StatusConflict
}

// answering is how long an order from outside waits for a replica, which may be stalled
// when it has the order.
const answering = 10 * time.Second

// proxy passes orders from outside on to the replicas that can sell, in turns.
func (m *market) proxy() http.Handler {
	forward := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			u, _ := r.In.Context().Value(m).(*url.URL)
			r.Out.URL.Scheme, r.Out.URL.Host, r.Out.URL.Path = u.Scheme, u.Host, u.Path
			r.Out.Host = ""            // it is a host of its own,
			r.Out.Header.Del("Origin") // and what other pages may do was settled at the door
			r.Out.Header.Del("Sec-Fetch-Site")
		},
		ModifyResponse: func(r *http.Response) error {
			r.Header.Del("X-Content-Type-Options") // the door has it
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) {
			http.Error(w, "the replica does not answer: the order may be sent again", http.StatusServiceUnavailable)
		},
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u := m.next(r.PathValue("sku"))
		if u == nil {
			http.Error(w, "no replica is open", http.StatusServiceUnavailable)
			return
		}
		ctx, cancel := context.WithTimeout(context.WithValue(r.Context(), m, u), answering)
		defer cancel()
		forward.ServeHTTP(w, r.WithContext(ctx))
	})
}

// next returns where to send the next order, nil if no replica can sell.
func (m *market) next(sku string) *url.URL {
	m.mu.Lock()
	defer m.mu.Unlock()
	for range m.open {
		i := int(m.turn.Add(1)) % len(m.open)
		if m.open[i] != "" && !m.away[i] {
			return &url.URL{Scheme: "http", Host: m.open[i], Path: m.pathLocked(sku)}
		}
	}
	return nil
}
