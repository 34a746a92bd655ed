package redistest

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jobguard/jobguard/internal/testserver"
)

// A Direction says which of the two ways through a [Proxy] a fault concerns.
type Direction int

// The two directions, and both at once.
const (
	ToServer Direction = iota // requests
	ToClient                  // replies and published messages
	Both
)

func (d Direction) covers(way Direction) bool { return d == Both || d == way }

// A Proxy stands between clients and one Redis server and does to their traffic
// what networks do. Its faults apply to all connections, open and new, from the
// moment the method returns until [Proxy.Heal]; several may be on at a time.
//
// It passes on whole commands and whole replies, in order. A client that closes
// its connection does not call back what it has sent: requests held at that time
// are still delivered later.
type Proxy struct {
	target string
	port   *testserver.Port
	ctx    context.Context // ends at Close; bounds dialling the target
	stop   context.CancelFunc
	wg     sync.WaitGroup // acceptor and links

	mu       sync.Mutex // guards what follows; taken inside a link's lock, never around it
	closed   bool
	listener net.Listener // nil while cut
	links    map[*link]struct{}
	weather  weather
}

// weather is the state of the proxy that its links look at.
type weather struct {
	delay time.Duration
	held  [Both]bool // by direction
	lost  [Both]bool
	reply *errorReply
	traps []*Trap // waiting for their command, oldest first
	holds []*Trap // have got it, and hold it or its reply when that comes
}

// errorReply is what the proxy answers in place of the server.
type errorReply struct {
	line  string
	words []string
}

// NewProxy starts a proxy to target (host:port) that at first passes everything
// on. It is closed when t ends.
func NewProxy(t testing.TB, target string) *Proxy {
	t.Helper()
	p := &Proxy{target: target, links: map[*link]struct{}{}}
	p.ctx, p.stop = context.WithCancel(context.Background())
	for range 10 {
		port, err := testserver.ReservePort()
		if err != nil {
			t.Fatalf("redistest: %v", err)
		}
		p.port = port
		if p.listen() == nil {
			t.Cleanup(p.Close)
			return p
		}
		port.Release()
	}
	t.Fatal("redistest: ten ports in a row were taken between looking and using")
	return nil
}

// DialVia returns a dialer (for redis.ClusterOptions.Dialer and its kind) that
// goes through the given proxies to their targets, and directly everywhere else.
// Cluster and Sentinel clients need it, because servers tell them addresses.
func DialVia(proxies ...*Proxy) func(ctx context.Context, network, addr string) (net.Conn, error) {
	via := map[string]string{}
	for _, p := range proxies {
		via[p.target] = p.Addr()
	}
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		if through, ok := via[addr]; ok {
			addr = through
		}
		var dialer net.Dialer
		return dialer.DialContext(ctx, network, addr)
	}
}

// Addr returns host:port for clients to connect to. It never changes.
func (p *Proxy) Addr() string { return p.port.Addr() }

// Target returns host:port of the server behind the proxy.
func (p *Proxy) Target() string { return p.target }

// Delay makes everything take d longer in each direction from now on, so a round
// trip takes 2×d longer. Throughput stays. It is a property of the line and not a
// fault: Heal leaves it, Delay(0) ends it.
func (p *Proxy) Delay(d time.Duration) {
	p.change(func(w *weather) { w.delay = d })
}

// Blackhole holds what goes in this direction: connections stay open, can even
// be made, and nothing arrives. Heal delivers what was held.
func (p *Proxy) Blackhole(d Direction) {
	p.change(func(w *weather) { w.held = cover(w.held, d) })
}

// Lose throws away what goes in this direction. TCP never skips bytes, so
// connections that lost some are closed by Heal.
func (p *Proxy) Lose(d Direction) {
	p.change(func(w *weather) { w.lost = cover(w.lost, d) })
}

// Forget drops the connections there are, as a load balancer does with idle ones:
// neither end learns of it, and what goes over them is thrown away. New ones work. It
// returns how many there were. Heal closes them.
func (p *Proxy) Forget() int {
	p.mu.Lock()
	links := p.openLinksLocked()
	p.mu.Unlock()
	for _, l := range links {
		l.forget()
	}
	return len(links)
}

func (l *link) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lost, l.lossy = true, true
	l.change.Broadcast()
}

func cover(ways [Both]bool, d Direction) [Both]bool {
	for way := range Both {
		ways[way] = ways[way] || d.covers(way)
	}
	return ways
}

// AnswerErr makes the proxy itself answer commands with this error, such as
// "LOADING Redis is loading the dataset in memory", and keep them from the
// server. It concerns the commands that mention all the words, or without words
// all but those that set up and keep a connection or subscribe: servers in
// trouble answer most of these as ever. A later AnswerErr takes the place of an earlier one.
func (p *Proxy) AnswerErr(err string, words ...string) {
	line := "-" + strings.TrimPrefix(err, "-") + "\r\n"
	p.change(func(w *weather) { w.reply = &errorReply{line: line, words: words} })
}

// Cut resets all connections and refuses new ones. What is under way is lost.
func (p *Proxy) Cut() {
	p.mu.Lock()
	listener := p.listener
	p.listener = nil
	links := p.openLinksLocked()
	p.mu.Unlock()
	if listener != nil {
		_ = listener.Close() // nothing to be done about it
	}
	for _, l := range links {
		l.reset()
	}
}

// Heal ends every fault but Delay: it delivers what was held, closes the
// connections that lost something, springs no more traps, releases the sprung
// ones, and lets clients connect again.
func (p *Proxy) Heal() {
	p.change(func(w *weather) {
		for _, trap := range w.holds {
			trap.Release()
		}
		*w = weather{delay: w.delay}
	})
	p.mu.Lock()
	cut := p.listener == nil && !p.closed
	links := p.openLinksLocked()
	p.mu.Unlock()
	for _, l := range links {
		l.heal()
	}
	if !cut {
		return
	}
	listening := func() bool {
		err := p.listen()
		return err == nil || errors.Is(err, net.ErrClosed)
	}
	if !testserver.Poll(listening) {
		panic("redistest: cannot listen on " + p.Addr() + " again")
	}
}

// Close ends the proxy and its connections. It returns when its goroutines have
// ended.
func (p *Proxy) Close() {
	p.mu.Lock()
	already := p.closed
	p.closed = true
	p.mu.Unlock()
	if already {
		return
	}
	p.stop()
	p.Cut()
	p.wg.Wait()
	p.port.Release()
}

// change alters the weather and lets every link look at it anew.
func (p *Proxy) change(alter func(*weather)) {
	p.mu.Lock()
	alter(&p.weather)
	links := p.openLinksLocked()
	p.mu.Unlock()
	for _, l := range links {
		l.wake()
	}
}

func (p *Proxy) openLinksLocked() []*link {
	links := make([]*link, 0, len(p.links))
	for l := range p.links {
		links = append(links, l)
	}
	return links
}

// listen opens the proxy's port and starts to accept: one goroutine, which ends
// when the listener is closed by Cut or Close.
func (p *Proxy) listen() error {
	listener, err := net.Listen("tcp4", p.Addr())
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return errors.Join(net.ErrClosed, listener.Close())
	}
	p.listener = listener
	p.wg.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			p.wg.Go(func() { p.serve(listener, client) })
		}
	})
	return nil
}

// serve connects one client with the server and returns when both are through
// with each other.
func (p *Proxy) serve(listener net.Listener, client net.Conn) {
	var dialer net.Dialer
	server, err := dialer.DialContext(p.ctx, "tcp", p.target)
	if err != nil {
		_ = client.Close() // the client learns that there is no server
		return
	}
	l := newLink(p, client, server)
	p.mu.Lock()
	refused := p.closed || p.listener != listener // cut while we were dialling
	if !refused {
		p.links[l] = struct{}{}
	}
	p.mu.Unlock()
	if refused {
		l.reset()
		return
	}
	l.run()
	p.mu.Lock()
	delete(p.links, l)
	p.mu.Unlock()
}
