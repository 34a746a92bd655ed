package httpmw_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
)

// The connection is written to after the middleware, as by a goroutine of the
// handler.
func TestLossLeavesAHijackedConnectionAlone(t *testing.T) {
	for name, c := range map[string]struct {
		switched bool // with a header sent before
		twice    bool
		inside   bool // lost while Hijack is at work
		panics   bool
	}{
		"at once":                       {},
		"after 101":                     {switched: true},
		"twice":                         {twice: true},
		"twice, after 101":              {switched: true, twice: true},
		"handler panics":                {panics: true},
		"handler panics, after 101":     {switched: true, panics: true},
		"lost during Hijack, after 101": {switched: true, inside: true},
	} {
		t.Run(name, func(t *testing.T) {
			var w *world
			var conn net.Conn
			var ctx context.Context
			w = newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
				ctx = r.Context() //nolint:fatcontext // for Hijack further out
				if c.switched {
					rw.WriteHeader(http.StatusSwitchingProtocols)
				}
				var err error
				if conn, _, err = rw.(http.Hijacker).Hijack(); err != nil {
					t.Errorf("Hijack: %v", err)
				}
				if c.twice {
					if _, _, err = rw.(http.Hijacker).Hijack(); err != http.ErrHijacked {
						t.Errorf("second Hijack: %v, want ErrHijacked", err)
					}
				}
				if !c.inside {
					w.lose(ctx)
				}
				if c.panics {
					panic("boom")
				}
			}, withOuter(func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
					defer func() {
						if p := recover(); (p == "boom") != c.panics || p != nil && p != "boom" {
							t.Errorf("panicked with %v", p)
						}
						if conn == nil {
							return
						}
						if _, err := io.WriteString(conn, "mine"); err != nil {
							t.Errorf("Write: %v", err)
						}
						_ = conn.Close()
					}()
					if c.inside {
						rw = slowly{unwrapper{rw}, rw.(http.Flusher), func() { w.lose(ctx) }}
					}
					next.ServeHTTP(rw, r)
				})
			}))
			client := dial(t, w)
			fmt.Fprintf(client, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path)
			if b, err := io.ReadAll(client); err != nil || !strings.HasSuffix(string(b), "mine") {
				t.Errorf("read %q, %v", b, err)
			}
		})
	}
}

func TestHijackLetsTheLastByteOut(t *testing.T) {
	for name, send := range announcing {
		t.Run(name, func(t *testing.T) {
			over := make(chan struct{})
			w := newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
				rw.Header().Set("Content-Length", strconv.Itoa(size))
				send(t, rw, r)
				rw.(http.Flusher).Flush()
				conn, _, err := rw.(http.Hijacker).Hijack()
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := rw.Write([]byte("more")); err != http.ErrHijacked {
					t.Errorf("Write: %v, want ErrHijacked", err)
				}
				_ = conn.Close()
			}, withOuter(func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					defer close(over)
					next.ServeHTTP(w, r)
				})
			}))
			if a := w.get("GET"); !a.whole() || a.body != content {
				t.Errorf("got %d bytes of %d, %v", len(a.body), size, a.err)
			}
			<-over // net/http would complain of a byte that comes later
			if s := w.log.take(); strings.Count(s, "hijacked connection") != 1 {
				t.Errorf("net/http complained: %s", s)
			}
		})
	}
}

// slowly calls during in Hijack, after the connection was taken.
type slowly struct {
	unwrapper
	http.Flusher
	during func()
}

func (s slowly) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(s.w).Hijack()
	s.during()
	time.Sleep(50 * time.Millisecond) // for the effects of the loss
	return conn, rw, err
}
