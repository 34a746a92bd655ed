package httpmw_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/jobguard/jobguard/guard"
)

// interfaces lists which optional interfaces w has.
func interfaces(w http.ResponseWriter) (has [10]bool) {
	_, has[0] = w.(http.Flusher)
	_, has[1] = w.(interface{ FlushError() error })
	_, has[2] = w.(http.CloseNotifier) //nolint:staticcheck // deprecated, and kept like the others
	_, has[3] = w.(http.Hijacker)
	_, has[4] = w.(io.ReaderFrom)
	_, has[5] = w.(interface{ SetReadDeadline(time.Time) error })
	_, has[6] = w.(interface{ SetWriteDeadline(time.Time) error })
	_, has[7] = w.(interface{ EnableFullDuplex() error })
	_, has[8] = w.(http.Pusher)
	_, has[9] = w.(io.StringWriter)
	return has
}

type plainWriter struct{ http.ResponseWriter }

type flushingWriter struct {
	http.ResponseWriter
	http.Flusher
}

type hijackingWriter struct {
	http.ResponseWriter
	http.Hijacker
	io.ReaderFrom
}

type stringWriter struct {
	http.ResponseWriter
	io.StringWriter
}

func TestResponseWriterKeepsExactlyItsInterfaces(t *testing.T) {
	for name, shape := range map[string]func(w http.ResponseWriter) http.ResponseWriter{
		"net/http": func(w http.ResponseWriter) http.ResponseWriter { return w },
		"plain":    func(w http.ResponseWriter) http.ResponseWriter { return plainWriter{w} },
		"unwraps":  func(w http.ResponseWriter) http.ResponseWriter { return unwrapper{w} },
		"flushes":  func(w http.ResponseWriter) http.ResponseWriter { return flushingWriter{w, w.(http.Flusher)} },
		"flushes and unwraps": func(w http.ResponseWriter) http.ResponseWriter {
			return struct {
				unwrapper
				http.Flusher
			}{unwrapper{w}, w.(http.Flusher)}
		},
		"flushes with an error, hijacks and unwraps": func(w http.ResponseWriter) http.ResponseWriter {
			h, _ := w.(http.Hijacker)
			return struct {
				unwrapper
				flushErrorer
				http.Hijacker
			}{unwrapper{w}, w.(flushErrorer), h}
		},
		"strings": func(w http.ResponseWriter) http.ResponseWriter { return stringWriter{w, w.(io.StringWriter)} },
		"hijacks": func(w http.ResponseWriter) http.ResponseWriter {
			rf, _ := w.(io.ReaderFrom)
			h, _ := w.(http.Hijacker)
			return hijackingWriter{w, h, rf}
		},
	} {
		for _, http2 := range []bool{false, true} {
			var want [10]bool
			w := prepare(t, func(w http.ResponseWriter, r *http.Request) {
				if got := interfaces(w); got != want {
					t.Errorf("%s, HTTP/%d: has %v, want %v", name, r.ProtoMajor, got, want)
				}
				ok(w, r)
			}, withOuter(func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					w = shape(w)
					want = interfaces(w)
					next.ServeHTTP(w, r)
				})
			}))
			w.start(http2)
			if a := w.get("GET"); a.body != "done" {
				t.Errorf("%s: got %+v", name, a)
			}
		}
	}
}

func TestResponseControllerWorks(t *testing.T) {
	for name, outer := range map[string]func(http.Handler) http.Handler{
		"on net/http's own":      func(h http.Handler) http.Handler { return h },
		"through a bare wrapper": unwrapping,
	} {
		t.Run(name, func(t *testing.T) {
			next := make(chan struct{})
			goOn := sync.OnceFunc(func() { close(next) })
			defer goOn() // the server's Close waits for the handler
			w := newWorld(t, func(w http.ResponseWriter, _ *http.Request) {
				rc := http.NewResponseController(w)
				for what, err := range map[string]error{
					"EnableFullDuplex": rc.EnableFullDuplex(),
					"SetReadDeadline":  rc.SetReadDeadline(time.Now().Add(waitLimit)),
					"SetWriteDeadline": rc.SetWriteDeadline(time.Now().Add(waitLimit)),
				} {
					if err != nil {
						t.Errorf("%s: %v", what, err)
					}
				}
				_, _ = w.Write([]byte("first\n"))
				if err := rc.Flush(); err != nil {
					t.Error(err)
				}
				<-next // the client has the first line
				_, _ = w.Write([]byte("second\n"))
			}, withOuter(outer))
			ctx, cancel := context.WithTimeout(t.Context(), requestLimit) // for a line that does not come
			defer cancel()
			r, err := http.NewRequestWithContext(ctx, http.MethodGet, w.URL+path, http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			res, err := w.Client().Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			lines := bufio.NewReader(res.Body)
			if line, err := lines.ReadString('\n'); line != "first\n" {
				t.Errorf("read %q, %v", line, err)
			}
			goOn()
			if rest, err := io.ReadAll(lines); string(rest) != "second\n" || err != nil {
				t.Errorf("read %q, %v", rest, err)
			}

			w = newWorld(t, func(w http.ResponseWriter, _ *http.Request) {
				conn, _, err := http.NewResponseController(w).Hijack()
				if err != nil {
					t.Error(err)
					return
				}
				_, _ = io.WriteString(conn, "HTTP/1.1 418 \r\nConnection: close\r\n\r\nmine")
				_ = conn.Close()
			}, withOuter(outer))
			if a := w.get("GET"); !a.whole() || a.body != "mine" {
				t.Errorf("got %+v", a)
			}
		})
	}
}

// partial are wrappers that unwrap to what they lack themselves.
var partial = map[string]func(w http.ResponseWriter) http.ResponseWriter{
	"nothing": func(w http.ResponseWriter) http.ResponseWriter { return unwrapper{w} },
	"strings": func(w http.ResponseWriter) http.ResponseWriter {
		return struct {
			unwrapper
			io.StringWriter
		}{unwrapper{w}, w.(io.StringWriter)}
	},
	"Hijack": func(w http.ResponseWriter) http.ResponseWriter {
		return struct {
			unwrapper
			http.Hijacker
		}{unwrapper{w}, w.(http.Hijacker)}
	},
	"Flush": func(w http.ResponseWriter) http.ResponseWriter {
		return struct {
			unwrapper
			http.Flusher
		}{unwrapper{w}, w.(http.Flusher)}
	},
	"FlushError": func(w http.ResponseWriter) http.ResponseWriter {
		return struct {
			unwrapper
			flushErrorer
		}{unwrapper{w}, w.(flushErrorer)}
	},
	"Flush and FlushError": func(w http.ResponseWriter) http.ResponseWriter {
		return struct {
			unwrapper
			http.Flusher
			flushErrorer
		}{unwrapper{w}, w.(http.Flusher), w.(flushErrorer)}
	},
	"Hijack, above another": func(w http.ResponseWriter) http.ResponseWriter {
		return struct {
			unwrapper
			http.Hijacker
		}{unwrapper{unwrapper{w}}, w.(http.Hijacker)}
	},
}

type flushErrorer interface{ FlushError() error }

func TestResponseControllerNeverPassesByTheGate(t *testing.T) {
	for name, shape := range partial {
		outer := withOuter(func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { next.ServeHTTP(shape(w), r) })
		})
		t.Run(name+", Flush", func(t *testing.T) {
			var w *world
			w = newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
				rc := http.NewResponseController(rw)
				if err := rc.Flush(); err != nil {
					t.Error(err)
				}
				w.lose(r.Context())
				if err := rc.Flush(); name != "Flush" && !errors.Is(err, guard.ErrLost) { // it has no error to return
					t.Errorf("Flush: %v, want ErrLost", err)
				}
				if conn, _, err := rc.Hijack(); !errors.Is(err, guard.ErrLost) {
					t.Errorf("Hijack: %v, want ErrLost", err)
					_ = conn.Close()
				}
			}, outer)
			if a := w.get("GET"); a.whole() {
				t.Errorf("the client takes %d with %q for whole", a.StatusCode, a.body)
			}
		})
		t.Run(name+", Hijack", func(t *testing.T) {
			var w *world
			w = newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
				conn, _, err := http.NewResponseController(rw).Hijack()
				if err != nil {
					t.Error(err)
					return
				}
				defer conn.Close()
				w.lose(r.Context())
				_, _ = io.WriteString(conn, "HTTP/1.1 418 \r\nConnection: close\r\n\r\nmine")
			}, outer)
			if a := w.get("GET"); !a.whole() || a.body != "mine" {
				t.Errorf("got %+v", a)
			}
		})
	}
}

func TestHijackThatFailsLeavesTheResponseToTheHandler(t *testing.T) {
	refused := errors.New("not this one")
	var w *world
	w = newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
		if _, _, err := rw.(http.Hijacker).Hijack(); err != refused {
			t.Errorf("Hijack: %v", err)
		}
		w.lose(r.Context())
	}, withOuter(func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			next.ServeHTTP(hijackingWriter{w, hijacker{refused}, w.(io.ReaderFrom)}, r)
		})
	}))
	isProblem(t, w.get("GET"), http.StatusServiceUnavailable, "")
}

type hijacker struct{ err error }

func (h hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) { return nil, nil, h.err }

// The wrappers are as most are: with Flush, Hijack and Unwrap, and without
// SetWriteDeadline.
func TestDeadlineThatPassesByTheGateSavesNoResponse(t *testing.T) {
	for _, outer := range []func(http.Handler) http.Handler{recovering, func(h http.Handler) http.Handler { return h }} {
		for name, send := range sends {
			t.Run(name, func(t *testing.T) {
				var w *world
				w = newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
					send(t, rw)
					w.lose(r.Context())
					if err := http.NewResponseController(rw).SetWriteDeadline(time.Time{}); err != nil {
						t.Errorf("SetWriteDeadline: %v", err) // it does not pass by the gate: change docs/behaviour/httpmw.md
					}
					if _, err := rw.Write([]byte("more")); !errors.Is(err, guard.ErrLost) {
						t.Errorf("Write: %v, want ErrLost", err)
					}
				}, withOuter(func(next http.Handler) http.Handler {
					return outer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						next.ServeHTTP(undated{unwrapper{w}, w.(http.Flusher), w.(http.Hijacker)}, r)
					}))
				}))
				if a := w.get("GET"); a.whole() {
					t.Errorf("the client takes %d with %d bytes for whole", a.StatusCode, len(a.body))
				}
			})
		}
	}
}

type undated struct {
	unwrapper
	http.Flusher
	http.Hijacker
}
