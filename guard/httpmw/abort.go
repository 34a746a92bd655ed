package httpmw

import (
	"net"
	"net/http"
	"time"
)

// abort ends the request such that the client cannot take what it has received for
// the whole response. It panics with http.ErrAbortHandler. Why that alone is not
// enough is in docs/design/httpmw-gate.md.
func (r *response) abort() {
	r.breakOff()
	panic(http.ErrAbortHandler)
}

// breakOff is abort without the panic.
func (r *response) breakOff() {
	stopWriting(r.w)
	if r.endsWithConnection() {
		reset(r.w)
	}
}

// stopWriting keeps everything in buffers, and all later writes, from the client. In
// HTTP/2 it resets the stream.
func stopWriting(w http.ResponseWriter) {
	// Where this is not supported, nothing is sent (a recorder) or only the panic
	// ends the response.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Unix(1, 0))
}

// endsWithConnection reports whether the end of the connection may end the body.
func (r *response) endsWithConnection() bool {
	return r.req.ProtoMajor == 1 &&
		(r.req.ProtoMinor == 0 || r.w.Header().Get("Transfer-Encoding") == "identity")
}

// reset closes the connection with a TCP reset, below TLS if need be.
func reset(w http.ResponseWriter) {
	conn := hijackConn(w)
	if conn == nil {
		return // it cannot be hijacked: net/http closes it
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

// hijackConn hijacks the connection. Some writers may refuse: gin's once there is a
// body, chi's while it compresses. Below them net/http does not refuse.
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
