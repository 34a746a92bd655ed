//go:build unix && !inventory_proxy

package main

import (
	"os"
	"syscall"
)

// stallWay is how a replica is made to stall: its process is stopped. It cannot
// renew, and no timer of it fires.
const stallWay = "SIGSTOP"

type staller struct{ redis string }

func newStaller(redis string) (*staller, error) { return &staller{redis}, nil }

// addr is the Redis that the replica to stall uses.
func (s *staller) addr() string { return s.redis }

func (s *staller) begin(p *os.Process) error { return p.Signal(syscall.SIGSTOP) }

func (s *staller) end(p *os.Process) error { return p.Signal(syscall.SIGCONT) }

func (s *staller) close() {}
