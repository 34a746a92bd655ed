//go:build unix && !inventory_proxy

package main

import (
	"os"
	"syscall"
)

// stallWay is how a replica is made to stall: its process is stopped. It cannot
// renew, and no timer of it fires.
const stallWay = "SIGSTOP"

func halt(p *os.Process, _ *line) error { return p.Signal(syscall.SIGSTOP) }

func resume(p *os.Process, _ *line) error { return p.Signal(syscall.SIGCONT) }
