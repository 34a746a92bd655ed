//go:build !unix || inventory_proxy

package main

import "os"

// stallWay is how a replica is made to stall where processes cannot be stopped:
// it sleeps before its write, and its way to Redis is cut, so that it cannot renew.
// The build tag inventory_proxy asks for it elsewhere.
const stallWay = "asleep and cut off"

func halt(_ *os.Process, l *line) error {
	l.cut()
	return nil
}

func resume(_ *os.Process, l *line) error {
	l.mend()
	return nil
}
