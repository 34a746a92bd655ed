package main_test

import (
	"bufio"
	"bytes"
	"database/sql"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver of PostgreSQL
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/jobguard/jobguard/internal/redistest"
	"github.com/jobguard/jobguard/internal/sqltest"
)

// seen is what the tests look at in a view of the page.
type seen struct {
	Replicas []struct {
		State string
		Cut   bool
		Sells []string
	}
	TTL  int
	Keys []struct {
		SKU     string
		Remains int
	}
	With, Without struct{ Sold, Oversold, Refused, Lost, PutBack int }
	Office        struct {
		Paid, Shipped, Ticks, Twice, Off int
	}
	Overlaps []struct{ SKU string }
	Log      []struct{ Text string } // since waitFor began, and some before
}

// loggedAfter reports whether text was logged since the last time that first was.
func (v seen) loggedAfter(first, text string) bool {
	begun, logged := false, false
	for _, e := range v.Log {
		if strings.Contains(e.Text, first) {
			begun, logged = true, false
		}
		logged = logged || begun && strings.Contains(e.Text, text)
	}
	return logged
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
	return &house{s, address.FindString(s.out.String())}
}

var address = regexp.MustCompile(`http://[0-9.:]+`)

// A port that is taken is a common mistake, and has its cure.
func TestPortThatIsTakenIsToldWithTheCure(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }() // nobody uses it
	s := start(t, inventory, nil, "-serve", "-listen", taken.Addr().String())
	if code := s.end(); code != 1 {
		t.Errorf("exit code %d", code)
	}
	if got := s.stderr.String(); !strings.Contains(got, "open the page: ") || !strings.Contains(got, "(-listen takes another address)") {
		t.Errorf("complaint: %q", got)
	}
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
		before := v.Log
		v = seen{}
		if err := json.Unmarshal([]byte(data), &v); err != nil {
			h.t.Fatal(err)
		}
		v.Log = append(before, v.Log...)
		for _, k := range v.Keys {
			if k.Remains < 0 || k.Remains > v.TTL {
				h.t.Errorf("%d ms are left of a lease of %d", k.Remains, v.TTL)
			}
		}
		if wanted(v) {
			return v
		}
	}
	v.Log = v.Log[max(0, len(v.Log)-20):]
	h.t.Fatalf("never seen: %s (%v); last: %+v", what, lines.Err(), v)
	return v
}

// Buttons are pressed faster than a process dies.
func TestReplicaThatIsKilledGoesOnHoweverFastTheButtonsAre(t *testing.T) {
	t.Parallel()
	h := serve(t, "-replicas", "2")
	h.waitFor("sales", func(v seen) bool { return v.With.Sold > 2 && v.Replicas[0].State == "selling" })
	again := func(path string) int {
		resp, err := client.Post(h.url+path, "", nil)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close() // not looked at
		return resp.StatusCode
	}
	for range 5 {
		h.press("/replicas/1/kill")
		if code := again("/replicas/1/kill"); code != http.StatusConflict {
			t.Errorf("killed twice: %d", code)
		}
		if code := again("/replicas/1/stall"); code != http.StatusConflict {
			t.Errorf("killed, and stalled: %d", code)
		}
		h.press("/replicas/1/go-on")
		h.waitFor("it sells again", func(v seen) bool { return v.Replicas[0].State == "selling" })
	}
	h.press("/replicas/1/kill")
	h.press("/replicas/1/go-on")
	again("/replicas/1/kill") // the last that was pressed
	h.waitFor("it is dead, and not for a failure", func(v seen) bool { return v.Replicas[0].State == "killed" })
	h.interrupt()
}

func (h *house) interrupt() {
	h.t.Helper()
	if err := h.cmd.Process.Signal(os.Interrupt); err != nil {
		h.t.Fatal(err)
	}
	if err := h.wait(); err != nil {
		h.t.Errorf("after Ctrl-C: %v", err)
	}
	h.leftNoProcess()
	h.leftNoFile()
}

func TestServedShopKeepsThePromiseUntilTheGuardIsOff(t *testing.T) {
	t.Parallel()
	h := serve(t, "-replicas", "3")
	h.waitFor("sales", func(v seen) bool { return v.With.Sold > 5 })

	// Once more if it comes to no late write: SQLite may be too busy to take it.
	var v seen
	for range 3 {
		h.press("/replicas/1/stall")
		h.waitFor("another replica goes on", func(v seen) bool { return v.loggedAfter("is stalled right before", "goes on with token") })
		h.press("/replicas/1/go-on")
		v = h.waitFor("the late write is over", func(v seen) bool {
			return v.With.Refused > 0 || v.loggedAfter("is stalled right before", "(late)")
		})
		if v.With.Refused > 0 {
			break
		}
	}
	v = h.waitFor("the late write is refused", func(v seen) bool { return v.With.Refused == 1 && v.With.Lost > 0 })
	if v.With.Oversold != 0 || len(v.Overlaps) != 0 {
		t.Errorf("with the guard: %+v", v)
	}

	h.press("/replicas/2/cut")
	h.waitFor("cut off", func(v seen) bool { return v.Replicas[1].Cut })
	sold := 0
	h.waitFor("20 sales, none by the replica that is cut off", func(v seen) bool {
		if sold == 0 || len(v.Replicas[1].Sells) > 0 {
			sold = v.With.Sold
		}
		return v.With.Sold >= sold+20
	})
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
	t.Parallel()
	h := serve(t, "-items", "200", "-replicas", "2")
	v := h.waitFor("a SKU", func(v seen) bool { return len(v.Keys) > 0 && v.With.Sold > 0 })
	sku := v.Keys[0].SKU
	for _, c := range []struct {
		sku, buyer string
		want       int
	}{
		{sku, "1000000001", http.StatusCreated},
		{sku, "1000000001", http.StatusCreated}, // again: the sale that was made
		{"nothing", "1000000001", http.StatusNotFound},
		{sku, "nobody", http.StatusBadRequest},
	} {
		if got := h.order(c.sku, c.buyer, ""); got != c.want {
			t.Errorf("%s for %s: %d, want %d", c.sku, c.buyer, got, c.want)
		}
	}
	h.interrupt()
}

func TestOtherPagesPressNoButtons(t *testing.T) {
	t.Parallel()
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

// What is behind the counter: tasks, ticks and compensations, on whatever servers.
func TestServedShopShipsReconcilesAndPutsBack(t *testing.T) {
	for name, servers := range map[string]func(t *testing.T) (args []string, clean func()){
		"embedded Redis, SQLite": func(*testing.T) ([]string, func()) { return nil, func() {} },
		"real Redis, PostgreSQL": realServers,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			args, clean := servers(t)
			h := serve(t, append([]string{"-replicas", "3", "-items", "200"}, args...)...)
			v := h.waitFor("a SKU", func(v seen) bool { return len(v.Keys) > 0 && v.Replicas[0].State == "selling" })

			// A card that is declined is known at once; its ticket comes back later.
			if got := h.order(v.Keys[0].SKU, "1000000000", ""); got != http.StatusPaymentRequired {
				t.Errorf("a card that is declined: %d", got)
			}
			h.waitFor("a ticket put back", func(v seen) bool { return v.With.PutBack > 0 && v.logged("the sale failed") })

			// What a replica leaves half done when it dies, others find. It may die
			// between two sales; then it has to die again.
			abandoned := func(v seen) bool { return v.logged("abandoned") }
			for found := false; !found; {
				h.waitFor("replica 1 sells", func(v seen) bool { return len(v.Replicas[0].Sells) > 0 })
				h.press("/replicas/1/kill")
				dead := h.waitFor("dead", func(v seen) bool { return v.Replicas[0].State == "killed" })
				found = abandoned(h.waitFor("its record, or three ticks", func(v seen) bool {
					return abandoned(v) || v.Office.Ticks > dead.Office.Ticks+3
				}))
				h.press("/replicas/1/go-on")
				h.waitFor("it sells again", func(v seen) bool { return v.Replicas[0].State == "selling" })
			}

			v = h.waitFor("orders shipped, books reconciled", func(v seen) bool { return v.Office.Shipped > 10 && v.Office.Ticks > 1 })
			if v.Office.Twice != 0 || v.Office.Off != 0 || v.Office.Shipped > v.Office.Paid || v.With.Oversold != 0 {
				t.Errorf("%+v %+v", v.Office, v.With)
			}
			h.interrupt()
			clean()
		})
	}
}

// realServers are a Redis and a PostgreSQL. clean fails unless they are as they were.
func realServers(t *testing.T) (args []string, clean func()) {
	redis, postgres := redistest.Start(t), sqltest.Postgres(t)
	return []string{"-redis", redis.Addr(), "-db", postgres.DSN}, func() {
		if keys := redis.Client(t).Keys(t.Context(), "*").Val(); len(keys) > 0 {
			t.Errorf("keys left: %q", keys)
		}
		db, err := sql.Open("pgx", postgres.DSN)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = db.Close() }() // was only read
		var schemas int
		err = db.QueryRowContext(t.Context(), `SELECT count(*) FROM information_schema.schemata WHERE schema_name LIKE 'inventory%'`).Scan(&schemas)
		if err != nil || schemas != 0 {
			t.Errorf("%d schemas left, %v", schemas, err)
		}
	}
}

// order buys a ticket at the door, within a trace if there is one.
//
// It comes again, as the crowd does, if the counter is busy for as long as a request waits.
func (h *house) order(sku, buyer, trace string) (status int) {
	h.t.Helper()
	for end := time.Now().Add(busyLimit); ; time.Sleep(50 * time.Millisecond) {
		if status = h.orderOnce(sku, buyer, trace); status != http.StatusConflict || time.Now().After(end) {
			return status
		}
	}
}

func (h *house) orderOnce(sku, buyer, trace string) (status int) {
	h.t.Helper()
	req, err := http.NewRequestWithContext(h.t.Context(), http.MethodPost, h.url+"/skus/"+sku+"/orders",
		strings.NewReader(url.Values{"buyer": {buyer}}.Encode()))
	if err != nil {
		h.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if trace != "" {
		req.Header.Set("Traceparent", trace)
	}
	resp, err := client.Do(req)
	if err != nil {
		h.t.Fatal(err)
	}
	_ = resp.Body.Close() // the status is all we look at
	return resp.StatusCode
}

// The caller's trace goes through the middleware and the task queue, in whatever
// replicas: its id is in the log of the sale and of the shipment.
func TestLogsCarryTheTraceOfTheOrder(t *testing.T) {
	t.Parallel()
	const id = "0af7651916cd43dd8448eb211c80319c"
	h := serve(t, "-replicas", "2", "-items", "200", "-v")
	v := h.waitFor("a SKU", func(v seen) bool { return len(v.Keys) > 0 && v.With.Sold > 0 })
	if got := h.order(v.Keys[0].SKU, "1000000001", "00-"+id+"-b7ad6b7169203331-01"); got != http.StatusCreated {
		t.Fatalf("the order: %d", got)
	}
	for deadline := time.Now().Add(busyLimit); ; time.Sleep(50 * time.Millisecond) {
		var told []string
		for line := range strings.Lines(h.stderr.String()) {
			if strings.Contains(line, "trace_id="+id) && strings.Contains(line, "buyer=1000000001") {
				told = append(told, regexp.MustCompile(`msg=(\w+)`).FindStringSubmatch(line)[1])
			}
		}
		if slices.Contains(told, "sold") && slices.Contains(told, "shipped") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("in the log of the trace: %q", told)
		}
	}
	h.interrupt()
}

func TestMetricsOfAllReplicas(t *testing.T) {
	t.Parallel()
	h := serve(t, "-replicas", "2", "-items", "200")
	h.waitFor("sales and a tick", func(v seen) bool { return v.With.Sold > 5 && v.Office.Ticks > 0 && v.Office.Shipped > 0 })
	resp, err := client.Get(h.url + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }() // was read
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	names, instances := map[string]bool{}, map[string]bool{}
	for _, metric := range families["jobguard_acquire_duration_seconds"].GetMetric() {
		for _, label := range metric.GetLabel() {
			switch label.GetName() {
			case "jobguard_name":
				names[label.GetValue()] = true
			case "instance":
				instances[label.GetValue()] = true
			}
		}
	}
	for _, name := range []string{"POST /skus/{sku}/orders", "order:ship", "reconciliation"} {
		if !names[name] {
			t.Errorf("no acquires of %s, only of %v", name, names)
		}
	}
	if !instances["replica 1"] || !instances["replica 2"] {
		t.Errorf("instances: %v", instances)
	}
	h.interrupt()
}
