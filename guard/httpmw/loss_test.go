package httpmw_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jobguard/jobguard/guard"
)

func TestHandlerRunsUnderTheLease(t *testing.T) {
	w := newWorld(t, func(w http.ResponseWriter, r *http.Request) {
		token, fenced := guard.Fence(r.Context())
		if !guard.Holding(r.Context(), key) || !fenced || token == 0 || r.PathValue("sku") != "a42" {
			t.Errorf("holding %v, fence %d %v", guard.Holding(r.Context(), key), token, fenced)
		}
		ok(w, r)
	})
	if a := w.get("GET"); !a.whole() || a.StatusCode != http.StatusOK || a.body != "done" || a.ContentLength != 4 {
		t.Errorf("got %+v", a)
	}
}

func TestRequestsForOneThingRunOneAtATime(t *testing.T) {
	var inside atomic.Int32
	w := newWorld(t, func(w http.ResponseWriter, r *http.Request) {
		if n := inside.Add(1); n != 1 {
			t.Errorf("%d at once", n)
		}
		time.Sleep(time.Millisecond)
		inside.Add(-1)
		ok(w, r)
	}, withGuard(guard.Wait(waitLimit)))
	const n = 20
	done := make(chan answer)
	for range n {
		go func() { done <- w.get("POST") }()
	}
	for range n {
		if a := <-done; !a.whole() || a.StatusCode != http.StatusOK {
			t.Errorf("got %+v", a)
		}
	}
}

func TestLossBeforeHeadersIs503(t *testing.T) {
	var w *world
	for name, h := range map[string]http.HandlerFunc{
		"handler writes nothing": func(http.ResponseWriter, *http.Request) {},
		"handler writes on": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusCreated)
			if _, err := w.Write([]byte("all is well")); !errors.Is(err, guard.ErrLost) {
				t.Errorf("Write: %v, want ErrLost", err)
			}
			if _, err := io.WriteString(w, "all is well"); !errors.Is(err, guard.ErrLost) {
				t.Errorf("WriteString: %v, want ErrLost", err)
			}
			if _, err := io.Copy(w, onlyReader{strings.NewReader("all is well")}); !errors.Is(err, guard.ErrLost) {
				t.Errorf("ReadFrom: %v, want ErrLost", err)
			}
			w.(http.Flusher).Flush()
			rc := http.NewResponseController(w)
			if err := rc.Flush(); !errors.Is(err, guard.ErrLost) {
				t.Errorf("Flush: %v, want ErrLost", err)
			}
			if err := rc.SetWriteDeadline(time.Time{}); !errors.Is(err, guard.ErrLost) {
				t.Errorf("SetWriteDeadline: %v, want ErrLost", err)
			}
			if _, _, err := rc.Hijack(); !errors.Is(err, guard.ErrLost) {
				t.Errorf("Hijack: %v, want ErrLost", err)
			}
			w.WriteHeader(http.StatusEarlyHints)
			http.Error(w, "internal", http.StatusInternalServerError)
		},
	} {
		t.Run(name, func(t *testing.T) {
			outer := func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					w.Header().Set("X-Request-Id", "7")
					w.Header().Set("Content-Length", "7")
					w.Header().Set("Retry-After", "7")
					next.ServeHTTP(w, r)
				})
			}
			w = newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
				rw.Header().Set("Content-Length", "1000")
				rw.Header().Set("Content-Encoding", "gzip")
				rw.Header().Set("Set-Cookie", "paid=yes")
				rw.Header().Set("X-Request-Id", "8")
				w.lose(r.Context())
				h(rw, r)
			}, withOuter(outer))
			ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
				Got1xxResponse: func(status int, _ textproto.MIMEHeader) error {
					t.Errorf("got a %d", status)
					return nil
				},
			})
			a := w.request(ctx, "GET", path, nil)
			isProblem(t, a, http.StatusServiceUnavailable, "")
			if a.err == nil && (a.Header.Get("Set-Cookie") != "" || a.Header.Get("X-Request-Id") != "7") {
				t.Errorf("header %v: not as it was before the handler", a.Header)
			}
		})
	}
}

func TestLossThatOnlyTheReleaseFindsIs503(t *testing.T) {
	var w *world
	w = newWorld(t, func(http.ResponseWriter, *http.Request) { w.store.Hold(key, "thief") })
	isProblem(t, w.get("GET"), http.StatusServiceUnavailable, "")
}

func TestInformationalHeadersLeaveTheStatusOpen(t *testing.T) {
	var w *world
	w = newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Link", "</style.css>; rel=preload")
		rw.WriteHeader(http.StatusEarlyHints)
		w.lose(r.Context())
	})
	isProblem(t, w.get("GET"), http.StatusServiceUnavailable, "")
}

// sends are the ways in which a response is partly sent when the lease is lost.
var sends = map[string]func(t *testing.T, w http.ResponseWriter){
	"only the status, in buffers": func(_ *testing.T, w http.ResponseWriter) { w.WriteHeader(http.StatusCreated) },
	"a little, in buffers":        func(_ *testing.T, w http.ResponseWriter) { _, _ = w.Write([]byte("half")) },
	"a string, in buffers":        func(_ *testing.T, w http.ResponseWriter) { _, _ = io.WriteString(w, "half") },
	"flushed header":              func(_ *testing.T, w http.ResponseWriter) { w.(http.Flusher).Flush() },
	"header by controller": func(t *testing.T, w http.ResponseWriter) {
		if err := http.NewResponseController(w).Flush(); err != nil {
			t.Error(err)
		}
	},
	"flushed body": func(_ *testing.T, w http.ResponseWriter) {
		_, _ = w.Write([]byte("half"))
		w.(http.Flusher).Flush()
	},
	"more than buffers hold": func(_ *testing.T, w http.ResponseWriter) { _, _ = w.Write(make([]byte, 100_000)) },
	"copied": func(_ *testing.T, w http.ResponseWriter) {
		_, _ = io.Copy(w, io.LimitReader(neverending{}, 100_000))
	},
	"with a length, in buffers": func(_ *testing.T, w http.ResponseWriter) {
		w.Header().Set("Content-Length", "3000") // passes the first buffer, not the second
		_, _ = w.Write(make([]byte, 3000))
	},
}

// onlyReader hides WriteTo of a source, so that io.Copy calls ReadFrom of the writer.
type onlyReader struct{ io.Reader }

// unread is a source that must not be read.
type unread struct{ t *testing.T }

func (u unread) Read([]byte) (int, error) {
	u.t.Error("read from")
	return 0, io.EOF
}

type neverending struct{}

func (neverending) Read(p []byte) (int, error) { return len(p), nil }

// recovering recovers from every panic.
func recovering(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() { _ = recover() }()
		next.ServeHTTP(w, r)
	})
}

// unwrapper has only the methods of a ResponseWriter, and Unwrap.
type unwrapper struct{ w http.ResponseWriter }

func (u unwrapper) Header() http.Header         { return u.w.Header() }
func (u unwrapper) Write(p []byte) (int, error) { return u.w.Write(p) }
func (u unwrapper) WriteHeader(status int)      { u.w.WriteHeader(status) }
func (u unwrapper) Unwrap() http.ResponseWriter { return u.w }

func unwrapping(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(unwrapper{unwrapper{w}}, r)
	})
}

func TestLossAfterHeadersBreaksTheResponse(t *testing.T) {
	plainly := func(h http.Handler) http.Handler { return h }
	for _, around := range []struct {
		name  string
		mw    func(http.Handler) http.Handler
		proto int
	}{
		{"HTTP/1.1", plainly, 1},
		{"HTTP/1.1, recovered outside", recovering, 1},
		{"HTTP/1.1, behind a bare wrapper", unwrapping, 1},
		{"HTTP/2", plainly, 2},
		{"HTTP/2, recovered outside", recovering, 2},
	} {
		for name, send := range sends {
			t.Run(around.name+", "+name, func(t *testing.T) {
				var w *world
				w = prepare(t, func(rw http.ResponseWriter, r *http.Request) {
					if _, flusher := rw.(http.Flusher); !flusher && strings.HasPrefix(name, "flushed") {
						rw = flushable{rw}
					}
					send(t, rw)
					w.lose(r.Context())
					if _, err := rw.Write([]byte("more")); !errors.Is(err, guard.ErrLost) {
						t.Errorf("Write: %v, want ErrLost", err)
					}
					if rf, reads := rw.(io.ReaderFrom); reads {
						if n, err := rf.ReadFrom(unread{t}); n != 0 || !errors.Is(err, guard.ErrLost) {
							t.Errorf("ReadFrom: %d, %v, want ErrLost", n, err)
						}
					}
				}, withOuter(around.mw))
				w.start(around.proto == 2)
				a := w.get("GET")
				if a.whole() {
					t.Errorf("the client takes %d with %d bytes for whole", a.StatusCode, len(a.body))
				}
				if a.Response != nil && a.ProtoMajor != around.proto {
					t.Errorf("protocol %s", a.Proto)
				}
			})
		}
	}
}

// flushable flushes as handlers do where a wrapper hides Flush.
type flushable struct{ http.ResponseWriter }

func (f flushable) Flush() { _ = http.NewResponseController(f.ResponseWriter).Flush() }

func TestLossThatOnlyTheReleaseFindsBreaksTheResponse(t *testing.T) {
	for name, send := range sends {
		for _, recovered := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, recovered %v", name, recovered), func(t *testing.T) {
				panicked := make(chan any, 1)
				var w *world
				w = newWorld(t, func(rw http.ResponseWriter, _ *http.Request) {
					send(t, rw)
					w.store.Hold(key, "thief")
				}, withOuter(func(next http.Handler) http.Handler {
					return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						defer func() {
							p := recover()
							panicked <- p
							if p != nil && !recovered {
								panic(p)
							}
						}()
						next.ServeHTTP(w, r)
					})
				}))
				if a := w.get("GET"); a.whole() {
					t.Errorf("the client takes %d with %d bytes for whole", a.StatusCode, len(a.body))
				}
				if p := <-panicked; p != http.ErrAbortHandler {
					t.Errorf("panicked with %v, want ErrAbortHandler", p)
				}
			})
		}
	}
}

func TestSwitchingProtocolsIsAHeaderSent(t *testing.T) {
	var w *world
	w = newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
		rw.WriteHeader(http.StatusSwitchingProtocols)
		w.lose(r.Context())
	})
	conn := dial(t, w)
	fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path)
	if b, _ := io.ReadAll(conn); len(b) > 0 {
		t.Errorf("read %q", b)
	}
}

func TestLossAfterTheContextHasEndedClosesTheGateToo(t *testing.T) {
	cancelled := make(chan struct{})
	var w *world
	w = newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
		close(cancelled)
		<-r.Context().Done()
		w.store.Hold(key, "thief")
		_ = guard.Ensure(context.WithoutCancel(r.Context()), 9*time.Second)
		if _, err := rw.Write([]byte("more")); !errors.Is(err, guard.ErrLost) {
			t.Errorf("Write: %v, want ErrLost", err)
		}
	})
	done := make(chan answer)
	go func() { done <- w.get("GET") }()
	begun(t, cancelled, done)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_ = w.guard.Shutdown(ctx) // it cancels a run
	isProblem(t, <-done, http.StatusServiceUnavailable, "")
}

func TestLossInterruptsAWriteUnderWay(t *testing.T) {
	for name, write := range map[string]func(http.ResponseWriter) error{
		"write": func(w http.ResponseWriter) (err error) {
			for err == nil {
				_, err = w.Write(make([]byte, 1<<20))
			}
			return err
		},
		"copy": func(w http.ResponseWriter) error {
			_, err := io.Copy(w, neverending{})
			return err
		},
		"flush": func(w http.ResponseWriter) (err error) {
			for err == nil {
				_, _ = w.Write(make([]byte, 2048)) // stays in the first buffer, mostly
				err = http.NewResponseController(w).Flush()
			}
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			interrupted := make(chan error, 1)
			var w *world
			w = newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
				go func() {
					time.Sleep(100 * time.Millisecond) // until the write is stuck, most likely
					w.lose(r.Context())
				}()
				interrupted <- write(rw)
			})
			conn := dial(t, w)
			fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path) // and reads nothing
			select {
			case err := <-interrupted:
				if !errors.Is(err, guard.ErrLost) {
					t.Errorf("a write without end ended with %v, want ErrLost", err)
				}
			case <-time.After(waitLimit):
				t.Error("the write goes on")
			}
		})
	}
}

func TestMaxHoldIsAnsweredLikeALoss(t *testing.T) {
	wait := func(w http.ResponseWriter, r *http.Request) {
		<-r.Context().Done()
		if _, err := w.Write([]byte("more")); !errors.Is(err, guard.ErrMaxHold) {
			t.Errorf("Write: %v, want ErrMaxHold", err)
		}
	}
	short := withGuard(guard.MaxHold(20 * time.Millisecond))
	isProblem(t, newWorld(t, wait, short).get("GET"), http.StatusServiceUnavailable, "")

	var inTime atomic.Bool // the header was sent before MaxHold had passed
	for hold := 50 * time.Millisecond; !inTime.Load() && hold < waitLimit; hold *= 2 {
		a := newWorld(t, func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusOK)
			inTime.Store(r.Context().Err() == nil)
			wait(w, r)
		}, withGuard(guard.MaxHold(hold))).get("GET")
		if inTime.Load() && a.whole() {
			t.Errorf("got %+v", a)
		}
	}
	if !inTime.Load() {
		t.Error("no header was ever sent in time")
	}
}

func TestMaxHoldOfARunAroundTheRequestIsAnsweredLikeALoss(t *testing.T) {
	for _, around := range []string{key, "another"} {
		var began atomic.Bool // before MaxHold had passed
		for hold := 50 * time.Millisecond; !began.Load() && hold < waitLimit; hold *= 2 {
			var w *world
			w = newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
				began.Store(true)
				<-r.Context().Done()
				ok(rw, r)
			}, withOuter(func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
					_ = w.guard.With(guard.MaxHold(hold)).Do(r.Context(), around, func(ctx context.Context) error {
						next.ServeHTTP(rw, r.WithContext(ctx))
						return nil
					})
				})
			}))
			if a := w.get("GET"); began.Load() {
				isProblem(t, a, http.StatusServiceUnavailable, "")
			}
		}
		if !began.Load() {
			t.Errorf("around %q: the handler never ran in time", around)
		}
	}
}

func TestLossAfterHijackEndsOnlyTheContext(t *testing.T) {
	var w *world
	w = newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
		conn, brw, err := http.NewResponseController(rw).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		w.lose(r.Context())
		_, _ = brw.WriteString("HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\n\r\n")
		_ = brw.Flush()
		line, err := brw.ReadString('\n')
		if err != nil {
			t.Error(err)
		}
		_, _ = brw.WriteString(line)
		_ = brw.Flush()
	})
	conn := dial(t, w)
	fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nhello\n", path)
	b, err := io.ReadAll(bufio.NewReader(conn))
	if err != nil || !strings.HasSuffix(string(b), "\r\n\r\nhello\n") {
		t.Errorf("read %q, %v", b, err)
	}
}
