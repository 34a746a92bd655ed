//go:build web

package main_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// browser is a tab of a real browser, and what its console complained of.
type browser struct {
	t   *testing.T
	ctx context.Context

	mu         sync.Mutex // guards complaints
	complaints []string
}

// openBrowser starts Debian's chromium, which ends with the test.
func openBrowser(t *testing.T) *browser {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatal("the tests of the page need chromium; `make test-web` installs it, or says how")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.UserDataDir(profile(t)), chromedp.WSURLReadTimeout(busyLimit))
	if os.Getuid() == 0 {
		options = append(options, chromedp.NoSandbox) // chromium refuses root with it
	}
	ctx, stop := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(stop)
	ctx, leave := chromedp.NewContext(ctx)
	t.Cleanup(func() {
		_ = chromedp.Cancel(ctx) // lets it end by itself, and waits for that
		leave()
	})
	b := &browser{t: t, ctx: ctx}
	chromedp.ListenTarget(ctx, b.listen)
	b.run(log.Enable())
	return b
}

// profile is a directory for the browser, whose helpers may still write to it for a
// moment after the browser itself has ended.
func profile(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "inventory-browser-") //nolint:usetesting // t.TempDir fails if a file comes while it removes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for deadline := time.Now().Add(busyLimit); ; time.Sleep(50 * time.Millisecond) {
			if err := os.RemoveAll(dir); err == nil {
				return
			} else if time.Now().After(deadline) {
				t.Errorf("remove the browser's profile: %v", err)
				return
			}
		}
	})
	return dir
}

// listen collects errors of the console and exceptions of the page.
func (b *browser) listen(event any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		b.complaints = append(b.complaints, e.ExceptionDetails.Error())
	case *runtime.EventConsoleAPICalled:
		if e.Type == runtime.APITypeError || e.Type == runtime.APITypeWarning {
			b.complaints = append(b.complaints, fmt.Sprint(e.Type))
		}
	case *log.EventEntryAdded:
		if e.Entry.Level == log.LevelError || e.Entry.Level == log.LevelWarning {
			b.complaints = append(b.complaints, e.Entry.Text+" "+e.Entry.URL)
		}
	}
}

// console takes what was complained of so far.
func (b *browser) console() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	taken := b.complaints
	b.complaints = nil
	return taken
}

func (b *browser) run(actions ...chromedp.Action) {
	b.t.Helper()
	ran := make(chan error, 1)
	go func() { ran <- chromedp.Run(b.ctx, actions...) }() // ends with the browser at the latest
	select {
	case err := <-ran:
		if err != nil {
			b.t.Fatal(err)
		}
	case <-time.After(busyLimit):
		b.t.Fatal("the browser does not answer")
	}
}

// js evaluates an expression.
func js[T any](b *browser, expression string) (v T) {
	b.t.Helper()
	b.run(chromedp.Evaluate(expression, &v))
	return v
}

// until waits until an expression is true in the page.
func (b *browser) until(what, expression string) {
	b.t.Helper()
	for deadline := time.Now().Add(busyLimit); !js[bool](b, expression); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			b.t.Fatalf("never seen: %s; the log of the page:\n%s", what, js[string](b, `document.getElementById("log").innerText`))
		}
	}
}

// cell is an expression for a number of the table.
func cell(row string, n int) string {
	return fmt.Sprintf(`Number(document.querySelectorAll("#%s td")[%d].textContent)`, row, n)
}

const (
	soldCell = iota + 1
	oversoldCell
	refusedCell
	lostCell
)

func logged(text string) string {
	quoted, _ := json.Marshal(text) // a string
	return fmt.Sprintf(`document.getElementById("log").textContent.includes(%s)`, quoted)
}

func TestPageTellsOfTheLockThatExpiresTooEarly(t *testing.T) {
	h, b := serve(t, "-replicas", "3"), openBrowser(t)
	b.run(chromedp.Navigate(h.url))
	b.until("sales", cell("with", soldCell)+` > 0`)

	b.run(chromedp.Click(`#replicas li:nth-child(1) .stall`))
	b.until("another replica goes on", logged("goes on with token"))
	b.run(chromedp.Click(`#replicas li:nth-child(1) .go-on`))
	b.until("lease lost, write refused", cell("with", lostCell)+` > 0 && `+cell("with", refusedCell)+` === 1`)
	if n := js[int](b, cell("with", oversoldCell)); n != 0 {
		t.Errorf("oversold %d with the guard", n)
	}
	if label := js[string](b, `document.getElementById("lanes").getAttribute("aria-label")`); label != "Timeline of leases: never two at once in the last 12 seconds" {
		t.Errorf("the timeline says %q", label)
	}

	b.run(chromedp.Click(`#guard`))
	b.until("oversold without", cell("without", oversoldCell)+` > 0`)
	b.until("overlaps in the timeline", `document.getElementById("lanes").getAttribute("aria-label").includes("two at once")`)
	if n := js[int](b, cell("with", oversoldCell)); n != 0 {
		t.Errorf("oversold %d with the guard", n)
	}
	if c := b.console(); len(c) > 0 {
		t.Errorf("the console: %q", c)
	}
	h.interrupt()
}

func TestPageComesBackAfterARestart(t *testing.T) {
	address := freeAddress(t)
	h, b := serve(t, "-replicas", "2", "-listen", address), openBrowser(t)
	b.run(chromedp.Navigate(h.url))
	b.until("sales", cell("with", soldCell)+` > 0`)
	boot := js[string](b, `document.documentElement.dataset.boot`)
	if c := b.console(); len(c) > 0 {
		t.Errorf("the console: %q", c)
	}
	h.interrupt()
	b.until("the page tells of it", `document.getElementById("link").textContent.startsWith("no connection")`)

	again := serve(t, "-replicas", "2", "-listen", address)
	b.until("the other server's log", `document.documentElement.dataset.boot !== "`+boot+`"`)
	b.until("live", `document.getElementById("link").textContent === "live"`)
	b.until("sales", cell("with", soldCell)+` > 0`)
	b.console() // of connections refused meanwhile, which a browser always shows
	again.interrupt()
}

func TestPageByKeyboardOnAPhone(t *testing.T) {
	h, b := serve(t, "-replicas", "2"), openBrowser(t)
	b.run(chromedp.EmulateViewport(360, 740, chromedp.EmulateMobile),
		emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{
			{Name: "prefers-reduced-motion", Value: "reduce"}, {Name: "prefers-color-scheme", Value: "dark"},
		}),
		chromedp.Navigate(h.url))
	b.until("replicas", `document.querySelectorAll("#replicas button").length === 8`)
	if wide := js[int](b, `document.documentElement.scrollWidth`); wide > 360 {
		t.Errorf("the page is %d wide, on a screen of 360", wide)
	}
	if c := js[string](b, `getComputedStyle(document.body).backgroundColor`); c != "rgb(20, 23, 27)" {
		t.Errorf("dark scheme: the ground is %s", c)
	}
	if d := js[string](b, `getComputedStyle(document.querySelector(".time div")).transitionDuration`); d != "0s" {
		t.Errorf("reduced motion: a transition takes %s", d)
	}
	b.run(chromedp.Evaluate(`document.querySelector("#replicas li:nth-child(2) .kill").focus()`, nil), chromedp.KeyEvent("\r"))
	b.until("killed by the Enter key", logged("replica 2 is dead"))
	if !js[bool](b, `document.activeElement.matches("#replicas li:nth-child(2) .kill")`) {
		t.Error("the button has lost its focus")
	}
	b.run(chromedp.KeyEvent("\t"), chromedp.KeyEvent("\t"), chromedp.KeyEvent("\r"))
	b.until("started again by Tab, Tab, Enter", `document.querySelector("#replicas li:nth-child(2) .state").textContent === "selling"`)
	if c := b.console(); len(c) > 0 {
		t.Errorf("the console: %q", c)
	}
	h.interrupt()
}

// freeAddress is an address that is free now.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }() // it has done its service
	return l.Addr().String()
}
