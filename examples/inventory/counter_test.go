package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
)

// Whoever announces an order and does not send it holds no key meanwhile, and is sent
// away in the end.
func TestBuyerWhoSendsSlowlyHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	g, err := guard.New(guardtest.NewStore())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = g.Shutdown(context.Background()) }) // nothing runs any more
	tracing, err := newTelemetry()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tracing.shutdown(context.Background()) }) // nothing is left to be told
	b := &branch{
		replica: &replica{guard: g, out: json.NewEncoder(io.Discard)},
		log:     slog.New(slog.DiscardHandler), telemetry: tracing,
	}
	server := httptest.NewServer(b.counter())
	t.Cleanup(server.Close)

	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() }) // was read to its end
	_, err = fmt.Fprintf(conn, "POST /skus/ticket/orders HTTP/1.1\r\nHost: %s\r\n"+
		"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 20\r\n\r\nbuyer=", server.Listener.Addr())
	if err != nil {
		t.Fatal(err)
	}
	answered := make(chan int, 1)
	go func() { // ends with the connection
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			answered <- 0
			return
		}
		_ = resp.Body.Close() // the status is all we look at
		answered <- resp.StatusCode
	}()
	nothing := func(context.Context) error { return nil }
	for deadline := time.After(10 * sending); ; {
		if err := g.With(guard.Wait(0)).Do(t.Context(), keyOf("ticket"), nothing); err != nil {
			t.Fatalf("while the order is being sent: %v", err)
		}
		select {
		case status := <-answered:
			if status != http.StatusRequestTimeout {
				t.Errorf("status %d, want %d", status, http.StatusRequestTimeout)
			}
			return
		case <-deadline:
			t.Fatal("no answer")
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// A page of another site reaches nothing, neither by its own name nor by one that was
// made to lead here; a scraper asks for metrics by whatever name.
func TestOnlyOurOwnNamesReachThePage(t *testing.T) {
	actions := make(chan action)
	go func() { // ends with the channel
		for a := range actions {
			a.done <- nil
		}
	}()
	defer close(actions)
	page, err := handler(newFeed(), &market{}, actions, "box.example")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, method, path, host, origin string
		want                             int
	}{
		{"an address", "POST", "/guard/off", "127.0.0.1:8080", "http://127.0.0.1:8080", http.StatusNoContent},
		{"an address of six", "POST", "/guard/off", "[::1]:8080", "", http.StatusNoContent},
		{"localhost", "POST", "/guard/off", "localhost:8080", "http://localhost:8080", http.StatusNoContent},
		{"our name", "POST", "/guard/off", "BOX.example", "", http.StatusNoContent},
		{"another origin", "POST", "/guard/off", "127.0.0.1:8080", "http://elsewhere.example", http.StatusForbidden},
		{"a button by another name", "POST", "/guard/off", "elsewhere.example:8080", "http://elsewhere.example:8080", http.StatusMisdirectedRequest},
		{"an order by another name", "POST", "/skus/show-1/orders", "elsewhere.example", "", http.StatusMisdirectedRequest},
		{"the page by another name", "GET", "/", "elsewhere.example", "", http.StatusMisdirectedRequest},
		{"what happens by another name", "GET", "/events", "elsewhere.example", "", http.StatusMisdirectedRequest},
		{"metrics by another name", "GET", "/metrics", "shop:8080", "", http.StatusOK},
		{"no name", "GET", "/", "", "", http.StatusMisdirectedRequest},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second) // events go on until their reader leaves
		req := httptest.NewRequestWithContext(ctx, c.method, c.path, nil)
		req.Host = c.host
		if c.origin != "" {
			req.Header.Set("Origin", c.origin)
		}
		w := httptest.NewRecorder()
		page.ServeHTTP(w, req)
		cancel()
		if w.Code != c.want {
			t.Errorf("%s: %d %s, want %d", c.name, w.Code, strings.TrimSpace(w.Body.String()), c.want)
		}
	}
}

// What does not exist is not found, and the method that a path wants is told.
func TestButtonsThatDoNotExistAreNotFound(t *testing.T) {
	h := newHouse(options{replicas: 1}, nil, nil)
	h.clerks = []*clerk{{state: dead}}
	go func() { // ends with the channel
		for a := range h.actions {
			a.done <- h.act(a)
		}
	}()
	defer close(h.actions)
	page, err := handler(h.feed, h.market, h.actions)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		method, path string
		want         int
		allow        string
	}{
		{"POST", "/replicas/1/stall", http.StatusConflict, ""}, // it is dead
		{"POST", "/replicas/2/stall", http.StatusNotFound, ""},
		{"POST", "/replicas/0/stall", http.StatusNotFound, ""},
		{"POST", "/replicas/one/stall", http.StatusNotFound, ""},
		{"POST", "/replicas/1/foo", http.StatusNotFound, ""},
		{"POST", "/guard/on", http.StatusNoContent, ""},
		{"POST", "/guard/bogus", http.StatusNotFound, ""},
		{"POST", "/bogus", http.StatusNotFound, ""},
		{"GET", "/replicas/1/stall", http.StatusMethodNotAllowed, "POST"},
		{"GET", "/guard/off", http.StatusMethodNotAllowed, "POST"},
		{"GET", "/skus/show-1/orders", http.StatusMethodNotAllowed, "POST"},
		{"POST", "/", http.StatusMethodNotAllowed, "GET, HEAD"},
		{"POST", "/events", http.StatusMethodNotAllowed, "GET, HEAD"},
		{"GET", "/guard/bogus", http.StatusNotFound, ""},
		{"GET", "/", http.StatusOK, ""},
		{"GET", "/page.js", http.StatusOK, ""},
	} {
		w := httptest.NewRecorder()
		page.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), c.method, "http://localhost"+c.path, nil))
		if w.Code != c.want || w.Header().Get("Allow") != c.allow {
			t.Errorf("%s %s: %d, Allow %q, want %d, %q", c.method, c.path, w.Code, w.Header().Get("Allow"), c.want, c.allow)
		}
	}
}

// The door sends orders only to replicas that can sell.
func TestOrdersGoToReplicasThatCanSell(t *testing.T) {
	h := newHouse(options{replicas: 4}, nil, nil)
	for i, c := range []clerk{{state: selling}, {state: stalled}, {state: selling, cut: true}, {state: dead}} {
		h.clerks = append(h.clerks, &c)
		if c.state != dead {
			h.opens(i, fmt.Sprintf("replica%d", i))
		}
		h.sends(i)
	}
	for range 8 {
		if u := h.market.next("show-1"); u == nil || u.Host != "replica0" {
			t.Fatalf("sent to %v", u)
		}
	}
	h.clerks[0].cut = true
	h.sends(0)
	if u := h.market.next("show-1"); u != nil {
		t.Errorf("sent to %v, which is cut off", u)
	}
}

// What the door has let in replicas take, by whatever name it came; one that is gone is no
// more than a reason to send the order again.
func TestDoorPassesOrdersOnAsItsOwn(t *testing.T) {
	replica := httptest.NewServer(private(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusCreated) })))
	m := &market{open: []string{replica.Listener.Addr().String()}, away: make([]bool, 1)}
	page, err := handler(newFeed(), m, nil, "box.example")
	if err != nil {
		t.Fatal(err)
	}
	order := func() (status int) {
		req := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/skus/show-1/orders", strings.NewReader("buyer=1"))
		req.Host = "box.example"
		req.Header.Set("Origin", "http://box.example")
		w := httptest.NewRecorder()
		page.ServeHTTP(w, req)
		return w.Code
	}
	if got := order(); got != http.StatusCreated {
		t.Errorf("status %d, want that of the replica", got)
	}
	replica.Close()
	if got := order(); got != http.StatusServiceUnavailable {
		t.Errorf("the replica is gone: status %d, want %d", got, http.StatusServiceUnavailable)
	}
}
