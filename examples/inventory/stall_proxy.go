//go:build !unix || inventory_proxy

package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"sync"
)

// stallWay is how a replica is made to stall where processes cannot be stopped:
// it sleeps before its write, and its way to Redis, over a proxy, is cut, so
// that it cannot renew. The build tag inventory_proxy asks for it elsewhere.
const stallWay = "asleep and cut off"

// staller is the proxy.
type staller struct {
	redis    string
	listener net.Listener
	wg       sync.WaitGroup // acceptor and links; ended by close

	mu    sync.Mutex // guards what follows
	cut   bool
	conns map[net.Conn]struct{}
}

func newStaller(redis string) (*staller, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("start the proxy: %w", err)
	}
	s := &staller{redis: redis, listener: listener, conns: map[net.Conn]struct{}{}}
	s.wg.Go(s.accept)
	return s, nil
}

// addr is the Redis that the replica to stall uses.
func (s *staller) addr() string { return s.listener.Addr().String() }

func (s *staller) begin(*os.Process) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cut = true
	for conn := range s.conns {
		_ = conn.Close() // ends its link
	}
	return nil
}

func (s *staller) end(*os.Process) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cut = false
	return nil
}

func (s *staller) close() {
	_ = s.listener.Close()
	_ = s.begin(nil)
	s.wg.Wait()
}

func (s *staller) accept() {
	for {
		client, err := s.listener.Accept()
		if err != nil {
			return // closed
		}
		s.wg.Go(func() { s.link(client) })
	}
}

// link passes on what client and server say until one of them hangs up.
func (s *staller) link(client net.Conn) {
	defer s.forget(client)
	if !s.remember(client) {
		return
	}
	server, err := net.Dial("tcp", s.redis)
	if err != nil {
		return
	}
	defer s.forget(server)
	if !s.remember(server) {
		return
	}
	var back sync.WaitGroup
	back.Go(func() { pass(client, server) })
	pass(server, client)
	back.Wait()
}

// pass ends when either end is closed, and closes both.
func pass(to, from net.Conn) {
	_, _ = io.Copy(to, from) // how a connection ends is not our business
	_ = to.Close()
	_ = from.Close()
}

// remember notes a connection, unless the line is cut.
func (s *staller) remember(conn net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.cut {
		s.conns[conn] = struct{}{}
	}
	return !s.cut
}

func (s *staller) forget(conn net.Conn) {
	_ = conn.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, conn)
}
