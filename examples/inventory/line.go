package main

import (
	"fmt"
	"io"
	"net"
	"sync"
)

// line is a replica's way to Redis, a proxy that can be cut.
type line struct {
	redis    string
	listener net.Listener
	wg       sync.WaitGroup // acceptor and links; ended by close

	mu    sync.Mutex // guards what follows
	down  bool
	conns map[net.Conn]struct{}
}

func newLine(redis string) (*line, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("start the proxy: %w", err)
	}
	l := &line{redis: redis, listener: listener, conns: map[net.Conn]struct{}{}}
	l.wg.Go(l.accept)
	return l, nil
}

// addr is the Redis that the replica uses.
func (l *line) addr() string { return l.listener.Addr().String() }

// cut closes what is open, and keeps new connections from getting through.
func (l *line) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down = true
	for conn := range l.conns {
		_ = conn.Close() // ends its link
	}
}

func (l *line) mend() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down = false
}

func (l *line) close() {
	_ = l.listener.Close()
	l.cut()
	l.wg.Wait()
}

func (l *line) accept() {
	for {
		client, err := l.listener.Accept()
		if err != nil {
			return // closed
		}
		l.wg.Go(func() { l.link(client) })
	}
}

// link passes on what client and server say until one of them hangs up.
func (l *line) link(client net.Conn) {
	defer l.forget(client)
	if !l.remember(client) {
		return
	}
	server, err := net.Dial("tcp", l.redis)
	if err != nil {
		return
	}
	defer l.forget(server)
	if !l.remember(server) {
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
func (l *line) remember(conn net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.down {
		l.conns[conn] = struct{}{}
	}
	return !l.down
}

func (l *line) forget(conn net.Conn) {
	_ = conn.Close()
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.conns, conn)
}
