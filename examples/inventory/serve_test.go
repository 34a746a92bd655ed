package main_test

import (
	"bufio"
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"
)

// seen is what the tests look at in a view of the page.
type seen struct {
	Replicas []struct {
		State string
		Cut   bool
	}
	Keys          []struct{ SKU string }
	With, Without struct{ Sold, Oversold, Refused, Lost int }
	Overlaps      []struct{ SKU string }
	Log           []struct{ Text string }
}

func (v seen) logged(text string) bool {
	for _, e := range v.Log {
		if strings.Contains(e.Text, text) {
			return true
		}
	}
	return false
}

// house is a program that serves.
type house struct {
	*show
	url string
}

// busyLimit is what a machine full of other work does not reach.
const busyLimit = 60 * time.Second

func serve(t *testing.T, args ...string) *house {
	t.Helper()
	s := prepare(t, inventory, nil, append([]string{"-serve", "-listen", "127.0.0.1:0", "-items", "20"}, args...)...)
	s.start()
	s.out.waitFor(t, "break things: http://")
	return &house{s, regexp.MustCompile(`http://[0-9.:]+`).FindString(s.out.String())}
}

// client keeps no connection, which goleak would find.
var client = http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: busyLimit}

// press is a button of the page.
func (h *house) press(path string) {
	h.t.Helper()
	resp, err := client.Post(h.url+path, "", nil)
	if err != nil {
		h.t.Fatal(err)
	}
	_ = resp.Body.Close() // empty
	if resp.StatusCode != http.StatusNoContent {
		h.t.Fatalf("%s: %s", path, resp.Status)
	}
}

// waitFor reads the event stream until a view is as wanted, and returns it.
func (h *house) waitFor(what string, wanted func(seen) bool) (v seen) {
	h.t.Helper()
	resp, err := client.Get(h.url + "/events")
	if err != nil {
		h.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }() // we leave when we have seen enough
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok {
			continue
		}
		v = seen{}
		if err := json.Unmarshal([]byte(data), &v); err != nil {
			h.t.Fatal(err)
		}
		if wanted(v) {
			return v
		}
	}
	h.t.Fatalf("never seen: %s (%v); last: %+v", what, lines.Err(), v)
	return v
}

func (h *house) interrupt() {
	h.t.Helper()
	if err := h.cmd.Process.Signal(os.Interrupt); err != nil {
		h.t.Fatal(err)
	}
	if err := h.cmd.Wait(); err != nil {
		h.t.Errorf("after Ctrl-C: %v", err)
	}
	h.leftNoProcess()
	h.leftNoFile()
}

func TestServedShopKeepsThePromiseUntilTheGuardIsOff(t *testing.T) {
	h := serve(t, "-replicas", "3")
	h.waitFor("sales", func(v seen) bool { return v.With.Sold > 5 })

	h.press("/replicas/1/stall")
	h.waitFor("another replica goes on", func(v seen) bool { return v.logged("goes on with token") })
	h.press("/replicas/1/go-on")
	v := h.waitFor("the late write is refused", func(v seen) bool { return v.With.Refused == 1 && v.With.Lost > 0 })
	if v.With.Oversold != 0 || len(v.Overlaps) != 0 {
		t.Errorf("with the guard: %+v", v)
	}

	h.press("/replicas/2/cut")
	h.waitFor("cut off", func(v seen) bool { return v.Replicas[1].Cut })
	h.press("/replicas/3/kill")
	h.waitFor("dead", func(v seen) bool { return v.Replicas[2].State == "killed" })
	h.press("/replicas/2/go-on")
	h.press("/replicas/3/go-on")
	h.waitFor("all sell", func(v seen) bool {
		return !v.Replicas[1].Cut && v.Replicas[0].State == "selling" && v.Replicas[2].State == "selling"
	})

	h.press("/guard/off")
	v = h.waitFor("oversold, overlaps", func(v seen) bool { return v.Without.Oversold > 0 && len(v.Overlaps) > 0 })
	if v.With.Oversold != 0 {
		t.Errorf("with the guard: %+v", v.With)
	}
	h.interrupt()
}

func TestOrdersFromOutsideAreSoldOnce(t *testing.T) {
	h := serve(t, "-items", "200", "-replicas", "2")
	v := h.waitFor("a SKU", func(v seen) bool { return len(v.Keys) > 0 && v.With.Sold > 0 })
	order := func(path, buyer string) int {
		t.Helper()
		resp, err := client.PostForm(h.url+path, url.Values{"buyer": {buyer}})
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close() // the status is all we look at
		return resp.StatusCode
	}
	for path, want := range map[string]int{
		"/skus/" + v.Keys[0].SKU + "/orders": http.StatusCreated,
		"/skus/nothing/orders":               http.StatusNotFound,
	} {
		if got := order(path, "1000000000"); got != want {
			t.Errorf("%s: %d, want %d", path, got, want)
		}
	}
	if got := order("/skus/"+v.Keys[0].SKU+"/orders", "nobody"); got != http.StatusBadRequest {
		t.Errorf("without a buyer: %d", got)
	}
	h.interrupt()
}

func TestOtherPagesPressNoButtons(t *testing.T) {
	h := serve(t, "-replicas", "2")
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, h.url+"/guard/off", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Origin", "http://elsewhere.example")
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close() // the status is all we look at
	if resp.StatusCode != http.StatusForbidden {
		t.Errorf("status %d", resp.StatusCode)
	}
	h.interrupt()
}
