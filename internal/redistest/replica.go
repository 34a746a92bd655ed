package redistest

import (
	"net"
	"testing"

	"github.com/jobguard/jobguard/internal/testserver"
)

// StartReplica starts a server that replicates primary, and returns when its
// link is up and everything primary holds has arrived.
func StartReplica(t testing.TB, primary *Server, args ...string) *Server {
	t.Helper()
	return StartReplicaOf(t, primary.Addr(), args...)
}

// StartReplicaOf is StartReplica for an address, so that a replica can follow
// its primary through a [Proxy] and be cut off.
func StartReplicaOf(t testing.TB, addr string, args ...string) *Server {
	t.Helper()
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatalf("redistest: %v", err)
	}
	replica := Start(t, append([]string{"--replicaof", host + " " + port}, args...)...)
	if !testserver.Poll(replica.linked) {
		t.Fatalf("redistest: replica %s has no link to %s; %s", replica.Addr(), addr, replica.Log())
	}
	return replica
}

func (s *Server) linked() bool { return s.info("replication", "master_link_status") == "up" }

// Promote makes a replica a primary, with what it has received so far. The old
// primary is not notified.
func (s *Server) Promote(t testing.TB) {
	t.Helper()
	s.must(t, "REPLICAOF", "NO", "ONE")
}

// Follow makes the server a replica of another one and waits until its link is
// up. What it holds itself is lost.
func (s *Server) Follow(t testing.TB, primary *Server) {
	t.Helper()
	host, port, err := net.SplitHostPort(primary.Addr())
	if err != nil {
		t.Fatalf("redistest: %v", err)
	}
	s.must(t, "REPLICAOF", host, port)
	if !testserver.Poll(s.linked) {
		t.Fatalf("redistest: %s has no link to %s; %s", s.Addr(), primary.Addr(), s.Log())
	}
}
