package httpmw_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/jobguard/jobguard/guard"
)

func TestLossEndsReadsOfTheRequestsBody(t *testing.T) {
	for name, http2 := range map[string]bool{"HTTP/1": false, "HTTP/2": true} {
		t.Run(name, func(t *testing.T) {
			var w *world
			w = prepare(t, func(_ http.ResponseWriter, r *http.Request) {
				if _, err := r.Body.Read(make([]byte, 5)); err != nil {
					t.Error(err)
				}
				go w.lose(r.Context())
				for range 2 { // under way, and later
					if n, err := r.Body.Read(make([]byte, 5)); n != 0 || !errors.Is(err, guard.ErrLost) {
						t.Errorf("Read: %d, %v, want ErrLost", n, err)
					}
				}
			})
			w.start(http2)
			pr, pw := io.Pipe() // the client is slow: it never sends the rest
			defer pw.Close()
			tooLate := time.AfterFunc(waitLimit, func() { pw.Close() }) // for a read that goes on
			go pw.Write([]byte("start"))
			isProblem(t, w.request(t.Context(), "POST", path, pr), http.StatusServiceUnavailable, "")
			if !tooLate.Stop() {
				t.Error("the loss did not end the read")
			}
		})
	}
}

// A handler reads the body under the key, so a client that does not send it holds the key
// up, until MaxHold ends the read. Who reads it before the middleware holds nobody up.
func TestClientThatSendsSlowlyHoldsTheKeyUnlessTheBodyWasReadBefore(t *testing.T) {
	read := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if err := r.ParseForm(); err != nil {
				t.Error(err)
			}
			next.ServeHTTP(w, r)
		})
	}
	const head = "POST " + path + " HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 6\r\n\r\n"
	t.Run("read by the handler", func(t *testing.T) {
		ended := make(chan error, 1)
		w := newWorld(t, func(_ http.ResponseWriter, r *http.Request) {
			_, err := io.ReadAll(r.Body)
			ended <- err
		}, withGuard(guard.MaxHold(100*time.Millisecond)))
		conn := dial(t, w)
		fmt.Fprint(conn, head+"n=")
		w.eventually("the key is held", func() bool { _, held := w.store.Holder(key); return held })
		if err := await(t, "the end of the read", ended); !errors.Is(err, guard.ErrMaxHold) {
			t.Errorf("the read ended with %v, want ErrMaxHold", err)
		}
	})
	t.Run("read before", func(t *testing.T) {
		w := newWorld(t, func(rw http.ResponseWriter, r *http.Request) { fmt.Fprint(rw, r.Form.Get("n")) }, withOuter(read))
		conn := dial(t, w)
		fmt.Fprint(conn, head+"n=")
		for range 20 { // long enough for the request to come
			time.Sleep(5 * time.Millisecond)
			if owner, held := w.store.Holder(key); held {
				t.Fatalf("%s holds the key", owner)
			}
		}
		fmt.Fprint(conn, "1234")
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if body, err := io.ReadAll(resp.Body); err != nil || string(body) != "1234" {
			t.Errorf("got %q, %v", body, err)
		}
	})
}
