package testserver

import (
	"net"
	"testing"
)

func TestReservedPortIsGivenToNobodyElse(t *testing.T) {
	p, err := ReservePort()
	if err != nil {
		t.Fatal(err)
	}
	if again, err := reserve(p.Number); err == nil {
		again.Release()
		t.Error("a port was given out twice")
	}
	p.Release()
	again, err := reserve(p.Number)
	if err != nil {
		t.Fatalf("a released port: %v", err)
	}
	again.Release()
}

func TestPortInUseIsNotReserved(t *testing.T) {
	for _, offset := range []int{0, busOffset} {
		p, err := ReservePort()
		if err != nil {
			t.Fatal(err)
		}
		p.Release()
		ln, err := net.Listen("tcp4", loopback(p.Number+offset))
		if err != nil {
			t.Fatal(err)
		}
		if again, err := reserve(p.Number); err == nil {
			again.Release()
			t.Errorf("a port was given out although %s is in use", ln.Addr())
		}
		_ = ln.Close()
	}
}
