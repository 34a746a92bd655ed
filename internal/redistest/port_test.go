package redistest

import (
	"net"
	"testing"
)

func TestReservedPortIsGivenToNobodyElse(t *testing.T) {
	p, err := reservePort()
	if err != nil {
		t.Fatal(err)
	}
	if again, err := reserve(p.number); err == nil {
		again.release()
		t.Error("a port was given out twice")
	}
	p.release()
	again, err := reserve(p.number)
	if err != nil {
		t.Fatalf("a released port: %v", err)
	}
	again.release()
}

func TestPortInUseIsNotReserved(t *testing.T) {
	for _, offset := range []int{0, busOffset} {
		p, err := reservePort()
		if err != nil {
			t.Fatal(err)
		}
		p.release()
		ln, err := net.Listen("tcp4", loopback(p.number+offset))
		if err != nil {
			t.Fatal(err)
		}
		if again, err := reserve(p.number); err == nil {
			again.release()
			t.Errorf("a port was given out although %s is in use", ln.Addr())
		}
		_ = ln.Close()
	}
}
