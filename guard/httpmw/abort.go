package httpmw

import (
	"net"
	"net/http"
	"time"
)

// abort ends the request such that the client cannot take what it has got for the
// whole response. It panics with http.ErrAbortHandler.
//
// The panic makes net/http leave out the end mark of a body and close the
// connection, or reset the stream in HTTP/2. It is not enough:
//
//   - Closing flushes what is still in buffers, and that can be the rest of the
//     response.
//   - A middleware further out may recover from the panic, and then the end mark is
//     written after all.
//   - To a client of HTTP/1.0 the end of the connection is the end mark. So it has
//     to be a reset.
func (r *response) abort() {
	r.breakOff()
	panic(http.ErrAbortHandler)
}

// cut is abort without the panic.
func (r *response) breakOff() {
	stopWriting(r.w)
	if r.endsWithConnection() {
		reset(r.w)
	}
}

// silence has nothing more sent to the client, of what is in buffers or comes
// later. In HTTP/2 it resets the stream.
func stopWriting(w http.ResponseWriter) {
	// Where this is not supported, by a recorder say, nothing is sent anyway, or the
	// panic has to do.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Unix(1, 0))
}

// endsWithConnection says whether the client may take the body to end where the
// connection does.
func (r *response) endsWithConnection() bool {
	return r.req.ProtoMajor == 1 &&
		(r.req.ProtoMinor == 0 || r.w.Header().Get("Transfer-Encoding") == "identity")
}

// reset closes the connection with a TCP reset, below TLS if need be.
func reset(w http.ResponseWriter) {
	conn := hijackConn(w)
	if conn == nil {
		return // not to be had: net/http closes it
	}
	for {
		if tcp, ok := conn.(interface{ SetLinger(sec int) error }); ok {
			_ = tcp.SetLinger(0) // it is closed either way
			break
		}
		outer, ok := conn.(interface{ NetConn() net.Conn })
		if !ok {
			break
		}
		conn = outer.NetConn()
	}
	_ = conn.Close() // as above
}

// take hijacks the connection. Some that could refuse: gin's writer once there
// is a body, chi's while it compresses. An http.ResponseController leaves it at that,
// but below them net/http does not refuse.
func hijackConn(w http.ResponseWriter) net.Conn {
	for {
		if h, ok := w.(http.Hijacker); ok {
			if conn, _, err := h.Hijack(); err == nil {
				return conn
			}
		}
		outer, ok := w.(unwrapper)
		if !ok {
			return nil
		}
		w = outer.Unwrap()
	}
}
