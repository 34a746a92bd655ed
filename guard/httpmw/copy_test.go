package httpmw_test

import (
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// readerFunc is a source, such as a backend.
type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func TestCopyOfNothingSendsNothing(t *testing.T) {
	failed := errors.New("backend gone")
	t.Run("lost meanwhile", func(t *testing.T) {
		var w *world
		w = newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
			_, err := io.Copy(rw, readerFunc(func([]byte) (int, error) {
				w.lose(r.Context())
				return 0, failed
			}))
			if !errors.Is(err, failed) {
				t.Errorf("Copy: %v", err)
			}
		})
		isProblem(t, w.get("GET"), http.StatusServiceUnavailable, "")
	})
	t.Run("lost, and something comes then", func(t *testing.T) {
		var w *world
		w = newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(rw, readerFunc(func(p []byte) (int, error) {
				w.lose(r.Context())
				return len(p), io.EOF
			}))
		})
		isProblem(t, w.get("GET"), http.StatusServiceUnavailable, "")
	})
	t.Run("short, further out", func(t *testing.T) { // where ReadFrom may send a header first
		for _, body := range []string{"", "short"} {
			seen := make(chan io.Reader, 1)
			w := newWorld(t, func(rw http.ResponseWriter, _ *http.Request) {
				if n, err := io.Copy(rw, onlyReader{strings.NewReader(body)}); n != int64(len(body)) || err != nil {
					t.Errorf("copied %d, %v", n, err)
				}
			}, withOuter(func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { next.ServeHTTP(sources{w, seen}, r) })
			}))
			if a := w.get("GET"); !a.whole() || a.body != body {
				t.Errorf("got %+v", a)
			}
			if len(seen) > 0 {
				t.Errorf("ReadFrom was called for a source of %d bytes", len(body))
			}
		}
	})
	t.Run("answered otherwise", func(t *testing.T) {
		for _, lose := range []bool{false, true} {
			var w *world
			w = newWorld(t, func(rw http.ResponseWriter, _ *http.Request) {
				_, err := io.Copy(rw, readerFunc(func([]byte) (int, error) { return 0, failed }))
				if !errors.Is(err, failed) {
					t.Errorf("Copy: %v", err)
				}
				rw.Header().Set("Content-Length", "4")
				rw.WriteHeader(http.StatusBadGateway)
				_, _ = rw.Write([]byte("gone"))
				rw.(http.Flusher).Flush()
				if lose {
					w.store.Hold(key, "thief")
				}
			})
			a := w.get("GET")
			if lose == a.whole() || !lose && (a.StatusCode != http.StatusBadGateway || a.body != "gone") {
				t.Errorf("lost %v: got %+v", lose, a)
			}
		}
	})
}

// TestCopyOfAFileCanBeSendfile: net/http must see the file, behind one LimitedReader at most.
func TestCopyOfAFileCanBeSendfile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "content")
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, announced := range []bool{false, true} {
		seen := make(chan io.Reader, 10)
		w := newWorld(t, func(rw http.ResponseWriter, _ *http.Request) {
			f, err := os.Open(name)
			if err != nil {
				t.Error(err)
				return
			}
			defer f.Close()
			if announced {
				rw.Header().Set("Content-Length", strconv.Itoa(size))
			}
			if n, err := io.CopyN(rw, f, size); n != size || err != nil {
				t.Errorf("copied %d, %v", n, err)
			}
		}, withOuter(func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { next.ServeHTTP(sources{w, seen}, r) })
		}))
		if a := w.get("GET"); !a.whole() || a.body != content {
			t.Errorf("got %d bytes, %v", len(a.body), a.err)
		}
		limited, _ := await(t, "the copy", seen).(*io.LimitedReader)
		if limited == nil {
			t.Fatal("no LimitedReader")
		}
		if _, file := limited.R.(*os.File); !file {
			t.Errorf("announced %v: a %T", announced, limited.R)
		}
	}
}

func TestCopyLeavesALimitedReaderWithWhatItDidNotRead(t *testing.T) {
	const short = 1000
	w := newWorld(t, func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Length", strconv.Itoa(size))
		src := &io.LimitedReader{R: strings.NewReader(content[:short]), N: size}
		if n, err := io.Copy(rw, src); n != short || err != nil || src.N != size-short {
			t.Errorf("copied %d, %v, and %d are left of %d", n, err, src.N, size)
		}
	})
	if a := w.get("GET"); a.whole() || len(a.body) != short {
		t.Errorf("got %d bytes, %v", len(a.body), a.err)
	}
}

// sources records what is read from.
type sources struct {
	http.ResponseWriter
	seen chan<- io.Reader
}

func (s sources) ReadFrom(src io.Reader) (int64, error) {
	s.seen <- src
	return io.Copy(s.ResponseWriter, src)
}

func TestWriteThatFailsKeepsNothingBack(t *testing.T) {
	full := errors.New("full")
	w := newWorld(t, func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Length", "4")
		if n, err := rw.Write([]byte("done")); n != 2 || err != full {
			t.Errorf("Write: %d, %v, want 2, %v", n, err, full)
		}
	}, withOuter(func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { next.ServeHTTP(filling{w, full}, r) })
	}))
	if a := w.get("GET"); a.whole() {
		t.Errorf("got %+v", a)
	}
}

// filling takes two bytes.
type filling struct {
	http.ResponseWriter
	err error
}

func (f filling) Write(p []byte) (int, error) {
	n, _ := f.ResponseWriter.Write(p[:2])
	return n, f.err
}
