//go:build web

package main_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

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
func cell(side, name string) string {
	return fmt.Sprintf(`Number(document.getElementById("%s-%s").textContent)`, side, name)
}

func logged(text string) string {
	quoted, _ := json.Marshal(text) // a string
	return fmt.Sprintf(`document.getElementById("log").textContent.includes(%s)`, quoted)
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

// used is the processor time of the browser and its helpers so far.
func (b *browser) used() (total time.Duration) {
	b.t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil || len(stats) == 0 {
		b.t.Fatalf("no processes: %v", err)
	}
	const tick = time.Second / 100 // USER_HZ
	times, parents := map[int]time.Duration{}, map[int]int{}
	for _, file := range stats {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		_, rest, _ := strings.Cut(string(text), ") ") // after the name
		fields := strings.Fields(rest)
		number := func(i int) int { n, _ := strconv.Atoi(fields[i]); return n }
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		parents[pid], times[pid] = number(1), time.Duration(number(11)+number(12))*tick
	}
	root := chromedp.FromContext(b.ctx).Browser.Process().Pid
	for pid, used := range times {
		for p := pid; p > 1; p = parents[p] {
			if p == root {
				total += used
				break
			}
		}
	}
	return total
}
