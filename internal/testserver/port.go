package testserver

import (
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
)

const (
	// Redis Cluster talks to itself on port + busOffset.
	busOffset = 10000

	// Ports come from [portMin, portMax), their bus ports from the ten
	// thousand above, so the two never meet. Both lie below 32768, where Linux
	// begins to give ports to outgoing connections: otherwise any connection
	// on the machine could sit on the port of a server that is restarting.
	portMin = 11000
	portMax = portMin + busOffset
)

// A Port is a TCP port of 127.0.0.1, and the one busOffset above it, kept for
// one server. The reservation is a UDP socket bound to the same number: every
// user of this package takes it first, servers and proxies of all test
// processes alike, Redis does not mind it, and the kernel drops it when the
// process dies.
type Port struct {
	Number      int
	reservation net.PacketConn
}

// ReservePort takes a free port at random.
func ReservePort() (*Port, error) {
	for range 1000 {
		if p, err := reserve(portMin + rand.IntN(portMax-portMin)); err == nil {
			return p, nil
		}
	}
	return nil, errors.New("no free port found on 127.0.0.1")
}

// reserve takes port n if no other has reserved it or listens on it or on its bus
// port.
func reserve(n int) (*Port, error) {
	reservation, err := net.ListenPacket("udp4", loopback(n))
	if err != nil {
		return nil, err
	}
	if err := errors.Join(free(n), free(n+busOffset)); err != nil {
		return nil, errors.Join(err, reservation.Close())
	}
	return &Port{Number: n, reservation: reservation}, nil
}

// Addr returns host:port.
func (p *Port) Addr() string { return loopback(p.Number) }

// Release gives the port back.
func (p *Port) Release() {
	_ = p.reservation.Close() // only a reservation, nothing was written
}

func free(n int) error {
	ln, err := net.Listen("tcp4", loopback(n))
	if err != nil {
		return err
	}
	return ln.Close()
}

func loopback(n int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(n)) }
