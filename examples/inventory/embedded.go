package main

import (
	"fmt"
	"sync"
	"time"

	"github.com/alicebob/miniredis/v2"
)

const (
	tick = 2 * time.Millisecond

	// maxStep bounds how far the clock of the keys moves at once. A key that
	// was set just before a step has all of the step taken off its life, so a
	// step after a long pause of this process would end leases early. Running
	// late instead is harmless: leases then last a little longer. With the
	// rounding to milliseconds it stays below the 5 ms that storetest allows.
	maxStep = 4 * time.Millisecond
)

// embedded is a Redis inside this process, for a demonstration without
// anything to install. It is miniredis, whose keys age only by FastForward.
type embedded struct {
	server *miniredis.Miniredis
	stop   func()
}

// startEmbedded starts the server and the goroutine that ages its keys by the
// time that really passes; close ends both.
func startEmbedded() (*embedded, error) {
	server := miniredis.NewMiniRedis()
	if err := server.Start(); err != nil {
		return nil, fmt.Errorf("start the embedded Redis: %w", err)
	}
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		age(server.FastForward, quit)
	}()
	return &embedded{server: server, stop: sync.OnceFunc(func() { close(quit); <-done })}, nil
}

// age calls forward with the time that passed since the last call, until quit.
func age(forward func(time.Duration), quit <-chan struct{}) {
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	last := time.Now()
	for {
		select {
		case <-quit:
			return
		case <-ticker.C:
			now := time.Now()
			forward(min(now.Sub(last), maxStep))
			last = now
		}
	}
}

func (e *embedded) addr() string { return e.server.Addr() }

func (e *embedded) close() {
	e.stop()
	e.server.Close()
}
