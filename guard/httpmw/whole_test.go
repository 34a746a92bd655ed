package httpmw_test

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jobguard/jobguard/guard"
)

const size = 300_000

var content = strings.Repeat("0123456789", size/10)

// announcing are the ways to send a whole body with Content-Length.
var announcing = map[string]func(t *testing.T, w http.ResponseWriter, r *http.Request){
	"at once": func(_ *testing.T, w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(content))
	},
	"string": func(_ *testing.T, w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, content)
	},
	"byte by byte at the end": func(_ *testing.T, w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(content[:size-3]))
		for _, b := range []byte(content[size-3:]) {
			if n, err := w.Write([]byte{b}); n != 1 || err != nil {
				panic(err)
			}
		}
	},
	"copied": func(t *testing.T, w http.ResponseWriter, _ *http.Request) {
		n, err := io.Copy(w, onlyReader{strings.NewReader(content)})
		if n != size || err != nil {
			t.Errorf("copied %d, %v", n, err)
		}
	},
	"copied in two": func(t *testing.T, w http.ResponseWriter, _ *http.Request) {
		src := strings.NewReader(content)
		for _, part := range []int64{1000, size - 1001, 1} {
			if n, err := io.CopyN(w, src, part); n != part || err != nil {
				t.Errorf("copied %d, %v", n, err)
			}
		}
	},
	"file": func(t *testing.T, w http.ResponseWriter, r *http.Request) {
		name := filepath.Join(t.TempDir(), "content")
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Error(err)
		}
		http.ServeFile(w, r, name)
	},
}

func TestNoResponseIsWholeBeforeTheKeyIsGivenBack(t *testing.T) {
	for name, send := range announcing {
		for i := range 4 {
			lose, http2 := i&1 > 0, i&2 > 0
			t.Run(fmt.Sprintf("%s, lost %v, HTTP/2 %v", name, lose, http2), func(t *testing.T) {
				var w *world
				w = prepare(t, func(rw http.ResponseWriter, r *http.Request) {
					rw.Header().Set("Content-Length", strconv.Itoa(size))
					send(t, rw, r)
					rw.(http.Flusher).Flush()
					if lose {
						w.store.Hold(key, "thief")
					}
				})
				w.start(http2)
				a := w.get("GET")
				switch {
				case lose && a.whole():
					t.Errorf("the client takes %d with %d bytes for whole", a.StatusCode, len(a.body))
				case !lose && (!a.whole() || a.body != content || a.ContentLength != size):
					t.Errorf("got %d bytes of %d, %v", len(a.body), size, a.err)
				}
			})
		}
	}
}

func TestBodyOfOneByteIsKeptBackToo(t *testing.T) {
	for _, lose := range []bool{false, true} {
		var w *world
		w = newWorld(t, func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("Content-Length", "1")
			_, _ = rw.Write([]byte("1"))
			rw.(http.Flusher).Flush()
			if lose {
				w.store.Hold(key, "thief")
			}
		})
		if a := w.get("GET"); lose == a.whole() || !lose && a.body != "1" {
			t.Errorf("lost %v: got %+v", lose, a)
		}
	}
}

func TestUnannouncedBodyIsUnchanged(t *testing.T) {
	w := newWorld(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.Copy(w, onlyReader{strings.NewReader(content)})
		_, _ = w.Write([]byte("more"))
	})
	if a := w.get("GET"); !a.whole() || a.body != content+"more" {
		t.Errorf("got %d bytes, %v", len(a.body), a.err)
	}
}

// The handler reuses the buffer of a Write.
func TestBufferOfAWriteIsTheHandlersAgain(t *testing.T) {
	w := newWorld(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "4")
		b := []byte("done")
		_, _ = w.Write(b)
		copy(b, "????")
	})
	if a := w.get("GET"); !a.whole() || a.body != "done" {
		t.Errorf("got %+v", a)
	}
}

func TestWriteOfNothingAfterTheLastByteIsNoError(t *testing.T) {
	w := newWorld(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "4")
		ok(w, r)
		if n, err := w.Write(nil); n != 0 || err != nil {
			t.Errorf("Write: %d, %v", n, err)
		}
	})
	if a := w.get("GET"); !a.whole() || a.body != "done" {
		t.Errorf("got %+v", a)
	}
}

func TestBodyLongerThanAnnouncedIsRefused(t *testing.T) {
	w := newWorld(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "4")
		_, _ = w.Write([]byte("done"))
		for _, more := range []string{"!", "more"} {
			if _, err := w.Write([]byte(more)); err != http.ErrContentLength {
				t.Errorf("Write(%q): %v, want ErrContentLength", more, err)
			}
		}
	})
	if a := w.get("GET"); !a.whole() || a.body != "done" {
		t.Errorf("got %+v", a)
	}
	w = newWorld(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "4")
		if _, err := w.Write([]byte("more than that")); err != http.ErrContentLength {
			t.Errorf("Write: %v, want ErrContentLength", err)
		}
	})
	if a := w.get("GET"); a.whole() {
		t.Errorf("got %+v", a)
	}
}

func TestHeadAndBodilessResponsesPass(t *testing.T) {
	for _, c := range []struct {
		method string
		status int
	}{{"HEAD", 200}, {"GET", 204}, {"GET", 304}} {
		w := newWorld(t, func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodHead {
				w.Header().Set("Content-Length", "4")
			}
			w.WriteHeader(c.status)
			if r.Method == http.MethodHead {
				ok(w, r)
			}
			w.(http.Flusher).Flush()
		})
		a := w.get(c.method)
		if !a.whole() || a.StatusCode != c.status || c.method == "HEAD" && a.ContentLength != 4 {
			t.Errorf("%s: got %+v", c.method, a)
		}
	}
}

func TestLostHeadResponseInBuffersIsBroken(t *testing.T) {
	for name, send := range map[string]func(http.ResponseWriter) error{
		"written": func(w http.ResponseWriter) error {
			_, err := w.Write(make([]byte, 3000)) // passes the first buffer, not the second
			return err
		},
		"copied": func(w http.ResponseWriter) error {
			_, err := io.Copy(w, io.LimitReader(neverending{}, 3000))
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			var w *world
			w = newWorld(t, func(rw http.ResponseWriter, _ *http.Request) {
				if err := send(rw); err != nil {
					t.Error(err)
				}
				w.store.Hold(key, "thief")
			})
			if a := w.get("HEAD"); a.whole() {
				t.Errorf("got %+v", a)
			}
		})
	}
}

func TestFirstByteFixesTheHeaderAlsoIfItIsTheLast(t *testing.T) {
	w := newWorld(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "1")
		_, _ = w.Write([]byte("1"))
		w.Header().Set("X-Late", "yes")
		w.WriteHeader(http.StatusTeapot)
	})
	a := w.get("GET")
	if !a.whole() || a.StatusCode != http.StatusOK || a.Header.Get("X-Late") != "" || a.body != "1" {
		t.Errorf("got %+v", a)
	}
	if s := w.log.take(); !strings.Contains(s, "superfluous") {
		t.Errorf("net/http says %q of the second status", s)
	}
}

func TestWhatAFrameworkWritesAfterTheMiddlewareReachesTheClient(t *testing.T) {
	var inner http.ResponseWriter
	late := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			next.ServeHTTP(w, r)
			http.Error(inner, "the handler's error", http.StatusTeapot)
		})
	}
	keep := func(w http.ResponseWriter, _ *http.Request) { inner = w }
	a := newWorld(t, keep, withOuter(late)).get("GET")
	if !a.whole() || a.StatusCode != http.StatusTeapot || a.body != "the handler's error\n" {
		t.Errorf("got %+v", a)
	}

	// But not what is written after a loss that has been answered.
	var w *world
	w = newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
		keep(rw, r)
		w.lose(r.Context())
	}, withOuter(late))
	isProblem(t, w.get("GET"), http.StatusServiceUnavailable, "")
}

func TestFrameworkMayAnnounceALengthAfterTheMiddleware(t *testing.T) {
	var inner http.ResponseWriter
	a := newWorld(t, func(w http.ResponseWriter, _ *http.Request) { inner = w }, withOuter(func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			next.ServeHTTP(w, r)
			inner.Header().Set("Content-Length", "4")
			ok(inner, r)
		})
	})).get("GET")
	if !a.whole() || a.body != "done" {
		t.Errorf("got %+v", a)
	}
}

func TestWhatComesAfterTheLastByteIsJudgedByNetHTTP(t *testing.T) {
	var inner http.ResponseWriter
	a := newWorld(t, func(w http.ResponseWriter, r *http.Request) {
		inner = w
		w.Header().Set("Content-Length", "4")
		ok(w, r)
	}, withOuter(func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			next.ServeHTTP(w, r)
			want, wanted := w.Write([]byte("more"))
			if n, err := inner.Write([]byte("more")); n != want || err != wanted {
				t.Errorf("Write: %d, %v, want %d, %v", n, err, want, wanted)
			}
		})
	})).get("GET")
	if !a.whole() || a.body != "done" {
		t.Errorf("got %+v", a)
	}
}

func TestConnectionIsKeptForTheNextRequest(t *testing.T) {
	addrs := make(chan string, 2)
	w := newWorld(t, func(w http.ResponseWriter, r *http.Request) {
		addrs <- r.RemoteAddr
		w.Header().Set("Content-Length", "4")
		ok(w, r)
	}, withGuard(guard.Wait(10*time.Second)))
	w.get("GET")
	w.get("GET")
	if a, b := await(t, "a request", addrs), await(t, "the next", addrs); a != b {
		t.Errorf("%s, then %s", a, b)
	}
}
