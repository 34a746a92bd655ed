package routers

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jobguard/jobguard/guard"
)

func TestHandlerRunsOnceUnderTheLeaseOfItsPathValue(t *testing.T) {
	eachRouter(t, func(t *testing.T, pattern string, start func(http.HandlerFunc) *world) {
		var runs atomic.Int32
		w := start(func(w http.ResponseWriter, r *http.Request) {
			runs.Add(1)
			token, fenced := guard.Fence(r.Context())
			if !fenced || token == 0 || !guard.Holding(r.Context(), "sku:b7") {
				t.Errorf("fence %d %v, holding %v", token, fenced, guard.Holding(r.Context(), "sku:b7"))
			}
			_, _ = io.WriteString(w, "sold "+r.PathValue("sku"))
		})
		w.store.Hold(key, "rival") // another key
		w.post("/stock/b7").is(t, http.StatusOK, "sold b7")
		if n := runs.Load(); n != 1 {
			t.Errorf("the handler ran %d times", n)
		}
		if got, want := w.outside(), (outcome{status: 200, size: 7, written: true}); got != want {
			t.Errorf("outside: %+v, want %+v", got, want)
		}
		select { // observers are called before the client gets the response
		case name := <-w.names:
			if name != pattern {
				t.Errorf("observers saw %q, want %q", name, pattern)
			}
		default:
			t.Error("observers saw nothing")
		}
	})
}

func TestBusyIs409AndTheHandlerDoesNotRun(t *testing.T) {
	eachRouter(t, func(t *testing.T, _ string, start func(http.HandlerFunc) *world) {
		w := start(func(http.ResponseWriter, *http.Request) { t.Error("the handler ran") })
		w.store.HoldFor(key, "rival", 2*time.Hour)
		a := w.post(path)
		if a.err != nil {
			t.Fatal(a.err)
		}
		seconds := a.Header.Get("Retry-After")
		a.isProblem(t, http.StatusConflict, seconds)
		if n, _ := strconv.Atoi(seconds); n < 1 || n > 60 {
			t.Errorf("Retry-After %q, want seconds", seconds)
		}
		if got, want := w.outside(), (outcome{status: 409, size: len(a.body), written: true}); got != want {
			t.Errorf("outside: %+v, want %+v", got, want)
		}
	})
}

func TestLossBeforeHeadersIs503(t *testing.T) {
	for name, h := range map[string]func(http.ResponseWriter){
		"handler returns": func(http.ResponseWriter) {},
		"handler answers": func(w http.ResponseWriter) {
			w.WriteHeader(http.StatusCreated)
			if _, err := io.WriteString(w, "all is well"); err == nil {
				t.Error("written after the loss")
			}
		},
		"handler panics": func(http.ResponseWriter) { panic("boom") },
	} {
		t.Run(name, func(t *testing.T) {
			eachRouter(t, func(t *testing.T, _ string, start func(http.HandlerFunc) *world) {
				var w *world
				w = start(func(rw http.ResponseWriter, r *http.Request) {
					w.lose(r.Context())
					h(rw)
				})
				a, want := w.post(path), http.StatusServiceUnavailable
				if name == "handler panics" { // the framework answers
					want = http.StatusInternalServerError
					if a.err != nil || a.StatusCode != want {
						t.Errorf("got %+v", a)
					}
				} else {
					a.isProblem(t, want, "")
				}
				if got := w.outside(); got.status != want || got.size > 0 && got.size != len(a.body) {
					t.Errorf("outside: %+v, want %d", got, want)
				}
			})
		})
	}
}

func TestLossThatOnlyTheReleaseFindsIs503(t *testing.T) {
	eachRouter(t, func(t *testing.T, _ string, start func(http.HandlerFunc) *world) {
		var w *world
		w = start(func(http.ResponseWriter, *http.Request) { w.store.Hold(key, "thief") })
		w.post(path).isProblem(t, http.StatusServiceUnavailable, "")
	})
}

func TestLossAfterHeadersBreaksTheResponse(t *testing.T) {
	for name, send := range map[string]func(http.ResponseWriter){
		"in buffers": func(w http.ResponseWriter) { _, _ = io.WriteString(w, "half") },
		"flushed": func(w http.ResponseWriter) {
			_, _ = io.WriteString(w, "half")
			w.(http.Flusher).Flush()
		},
		"all of its length": func(w http.ResponseWriter) {
			w.Header().Set("Content-Length", "4")
			_, _ = io.WriteString(w, "done")
			w.(http.Flusher).Flush()
		},
		"only the header": func(w http.ResponseWriter) {
			w.WriteHeader(http.StatusCreated)
			w.(http.Flusher).Flush()
		},
	} {
		for _, seen := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, seen %v", name, seen), func(t *testing.T) {
				eachRouter(t, func(t *testing.T, _ string, start func(http.HandlerFunc) *world) {
					var w *world
					w = start(func(rw http.ResponseWriter, r *http.Request) {
						send(rw)
						if !seen { // until the release
							w.store.Hold(key, "thief")
							return
						}
						w.lose(r.Context())
						if _, err := io.WriteString(rw, "more"); err == nil {
							t.Error("written after the loss")
						}
					})
					if a := w.post(path); a.err == nil {
						t.Errorf("the client takes %d %q for whole", a.StatusCode, a.body)
					}
				})
			})
		}
	}
}

func TestFrameworkAnswersAPanicAfterTheRelease(t *testing.T) {
	eachRouter(t, func(t *testing.T, _ string, start func(http.HandlerFunc) *world) {
		w := start(func(http.ResponseWriter, *http.Request) { panic("boom") })
		if a := w.post(path); a.err != nil || a.StatusCode != http.StatusInternalServerError {
			t.Errorf("got %+v", a)
		}
		if got := w.outside(); got.status != http.StatusInternalServerError { // report checks the key
			t.Errorf("outside: %+v", got)
		}
	})
}

func TestAnswerWithoutBodyArrives(t *testing.T) {
	eachRouter(t, func(t *testing.T, _ string, start func(http.HandlerFunc) *world) {
		w := start(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
		w.post(path).is(t, http.StatusNoContent, "")
		if got := w.outside(); got.status != http.StatusNoContent {
			t.Errorf("outside: %+v", got)
		}
	})
}

func TestFlushStreams(t *testing.T) {
	eachRouter(t, func(t *testing.T, _ string, start func(http.HandlerFunc) *world) {
		arrived := make(chan struct{})
		w := start(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "one\n")
			w.(http.Flusher).Flush()
			select {
			case <-arrived:
			case <-time.After(waitLimit):
				t.Error("Flush sends nothing")
			}
			_, _ = io.WriteString(w, "two\n")
			if err := http.NewResponseController(w).Flush(); err != nil {
				t.Error(err)
			}
		})
		res, err := w.Client().Post(w.URL+path, "", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		body := bufio.NewReader(res.Body)
		if line, err := body.ReadString('\n'); line != "one\n" {
			t.Errorf("read %q, %v", line, err)
		}
		close(arrived)
		if rest, err := io.ReadAll(body); string(rest) != "two\n" || err != nil {
			t.Errorf("read %q, %v", rest, err)
		}
	})
}

func TestHandlerCanHijack(t *testing.T) {
	eachRouter(t, func(t *testing.T, _ string, start func(http.HandlerFunc) *world) {
		var w *world
		w = start(func(rw http.ResponseWriter, r *http.Request) {
			conn, brw, err := rw.(http.Hijacker).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			w.lose(r.Context()) // the connection is the handler's all the same
			_, _ = brw.WriteString("taken")
			_ = brw.Flush()
		})
		conn := w.dial()
		fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\n\r\n", path)
		if b, err := io.ReadAll(conn); string(b) != "taken" || err != nil {
			t.Errorf("read %q, %v", b, err)
		}
	})
}
