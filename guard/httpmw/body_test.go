package httpmw_test

import (
	"errors"
	"io"
	"net/http"
	"testing"

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
			go pw.Write([]byte("start"))
			isProblem(t, w.request(t.Context(), "POST", path, pr), http.StatusServiceUnavailable, "")
		})
	}
}
