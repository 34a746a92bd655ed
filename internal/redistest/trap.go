package redistest

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jobguard/jobguard/internal/testserver"
)

// A Trap waits at a [Proxy] for one command and does something to it, or to its
// reply. Each springs once; a command springs at most one trap, the oldest that
// it fits.
//
// A trap waits for the next command that mentions all the words its maker was
// given: each must occur, in any case, in the command's name or in an argument
// ("evalsha", "orders:17", a script's hash). Without words that is any command
// but those that set up and keep a connection or subscribe.
type Trap struct {
	kind     trapKind
	words    []string
	sprung   chan struct{}
	answered chan struct{} // closed when the server has answered the request that was held
	release  chan struct{}
	once     sync.Once // closes release
}

type trapKind int

const (
	loseRequest trapKind = iota
	holdRequest
	loseReply
	holdReply
)

// LoseNextRequest closes the connection of the next such command, which the
// server never sees.
func (p *Proxy) LoseNextRequest(words ...string) *Trap { return p.set(loseRequest, words) }

// HoldNextRequest holds the next such command, and what follows on the same
// connection, until Release or Heal. Then the server gets it, even if its client
// has given up in between; other connections pass it by.
func (p *Proxy) HoldNextRequest(words ...string) *Trap { return p.set(holdRequest, words) }

// LoseNextReply lets the server execute the next such command, swallows the
// answer, and closes the connection.
func (p *Proxy) LoseNextReply(words ...string) *Trap { return p.set(loseReply, words) }

// HoldNextReply lets the server execute the next such command and holds the
// answer, and what follows on the same connection, until Release or Heal. A client that
// has a timeout sees it.
func (p *Proxy) HoldNextReply(words ...string) *Trap { return p.set(holdReply, words) }

func (p *Proxy) set(kind trapKind, words []string) *Trap {
	trap := &Trap{
		kind:     kind,
		words:    words,
		sprung:   make(chan struct{}),
		answered: make(chan struct{}),
		release:  make(chan struct{}),
	}
	p.change(func(w *weather) { w.traps = append(w.traps, trap) })
	return trap
}

// Sprung is closed when the trap has sprung: the request is held or lost, or the
// server has executed the command and the reply is held or lost.
func (tr *Trap) Sprung() <-chan struct{} { return tr.sprung }

// Wait returns when the trap has sprung and fails the test if it does not.
func (tr *Trap) Wait(t testing.TB) {
	t.Helper()
	select {
	case <-tr.sprung:
	case <-time.After(testserver.Patience):
		t.Fatalf("redistest: no command mentioning %q came by", tr.words)
	}
}

// Release lets go what the trap holds, now or when it springs.
func (tr *Trap) Release() {
	tr.once.Do(func() { close(tr.release) })
}

// Deliver lets go the request that a trap of HoldNextRequest holds, returns when the server
// has answered it, and fails the test if it does not. What it did is then seen by all.
func (tr *Trap) Deliver(t testing.TB) {
	t.Helper()
	tr.Release()
	select {
	case <-tr.answered:
	case <-time.After(testserver.Patience):
		t.Fatalf("redistest: the server was given the command mentioning %q and does not answer", tr.words)
	}
}

// trapFor takes the trap that a command springs out of the weather.
func (p *Proxy) trapFor(args []string) *Trap {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, trap := range p.weather.traps {
		if mentions(args, trap.words) {
			p.weather.traps = append(p.weather.traps[:i:i], p.weather.traps[i+1:]...)
			p.weather.holds = append(p.weather.holds, trap)
			return trap
		}
	}
	return nil
}

// mentions reports whether every word occurs somewhere in a command.
func mentions(args, words []string) bool {
	if len(words) == 0 {
		return len(args) > 0 && !isSetup(args[0])
	}
	for _, word := range words {
		if !occurs(args, strings.ToLower(word)) {
			return false
		}
	}
	return true
}

func occurs(args []string, word string) bool {
	for _, arg := range args {
		if strings.Contains(strings.ToLower(arg), word) {
			return true
		}
	}
	return false
}

// isSetup tells commands by which clients set a connection up and keep it, or
// subscribe, from those that tests are about.
func isSetup(name string) bool {
	switch strings.ToLower(name) {
	case "hello", "auth", "client", "select", "ping", "readonly", "readwrite", "asking", "quit", "reset",
		"cluster", "command", "replconf", "psync", "sync":
		return true
	}
	return isPubSub(name)
}

// isPubSub tells commands that are answered with one message per channel.
func isPubSub(name string) bool {
	return strings.HasSuffix(strings.ToLower(name), "subscribe")
}
