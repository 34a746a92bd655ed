package httpmw_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
)

// For some clients a response ends with its connection, such as a reverse proxy that
// speaks HTTP/1.0.
func TestEndOfTheConnectionIsNotTheEndOfALostResponse(t *testing.T) {
	identity := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Transfer-Encoding", "identity")
			next.ServeHTTP(w, r)
		})
	}
	unwilling := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			next.ServeHTTP(undated{unwrapper{w}, w.(http.Flusher), hijacker{errors.New("not now")}}, r)
		})
	}
	plainly := func(h http.Handler) http.Handler { return h }
	for name, c := range map[string]struct {
		proto    string
		outer    func(http.Handler) http.Handler
		tls      bool
		listener func(net.Listener) net.Listener
	}{
		"HTTP/1.0":                         {proto: "1.0", outer: plainly},
		"HTTP/1.1 identity":                {proto: "1.1", outer: identity},
		"TLS":                              {proto: "1.0", outer: plainly, tls: true},
		"connections wrapped":              {proto: "1.0", outer: plainly, listener: func(l net.Listener) net.Listener { return embedding{l} }},
		"a writer further out cannot give": {proto: "1.0", outer: unwilling},
	} {
		for how, lose := range map[string]func(w *world, r *http.Request){
			"seen":                 func(w *world, r *http.Request) { w.lose(r.Context()) },
			"found at the release": func(w *world, _ *http.Request) { w.store.Hold(key, "thief") },
			"panicked": func(w *world, r *http.Request) {
				w.lose(r.Context())
				panic("boom")
			},
		} {
			t.Run(name+", "+how, func(t *testing.T) {
				var w *world
				w = prepare(t, func(rw http.ResponseWriter, r *http.Request) {
					_, _ = rw.Write([]byte("half"))
					rw.(http.Flusher).Flush()
					lose(w, r)
				}, withOuter(func(next http.Handler) http.Handler { return recovering(c.outer(next)) }))
				if c.listener != nil {
					w.Listener = c.listener(w.Listener)
				}
				if c.tls {
					w.StartTLS()
				} else {
					w.Start()
				}
				conn := dial(t, w)
				if c.tls {
					roots := x509.NewCertPool()
					roots.AddCert(w.Certificate())
					conn = tls.Client(conn, &tls.Config{RootCAs: roots, ServerName: "example.com"})
				}
				fmt.Fprintf(conn, "GET %s HTTP/%s\r\nHost: x\r\n\r\n", path, c.proto)
				if b, err := io.ReadAll(conn); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("no reset after %q, but %v", b, err)
				}
			})
		}
	}
}

// For other clients a response has an end mark: a reset could drop what is still in
// transit.
func TestWhatWasFlushedBeforeTheLossArrives(t *testing.T) {
	var w *world
	w = newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
		_, _ = rw.Write([]byte("half"))
		rw.(http.Flusher).Flush()
		w.lose(r.Context())
	})
	conn := dial(t, w)
	fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path)
	if b, err := io.ReadAll(conn); err != nil || !strings.HasSuffix(string(b), "\r\n4\r\nhalf\r\n") {
		t.Errorf("read %q, %v", b, err)
	}
}

// embedding has connections that are no *net.TCPConn, but have its methods.
type embedding struct{ net.Listener }

type embedded struct{ *net.TCPConn }

func (l embedding) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if tcp, ok := conn.(*net.TCPConn); ok {
		return embedded{tcp}, err
	}
	return conn, err
}
