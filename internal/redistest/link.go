package redistest

import (
	"bufio"
	"io"
	"net"
	"strings"
	"sync"
	"time"
)

// A link is one client's connection through a proxy. Four goroutines, all ended
// by run, pass its traffic on: a reader and a writer for each direction with a
// queue between them, so that a delay does not cost throughput and a held
// request does not keep the link from noticing that its client has gone.
//
//	client ─ readRequests ─> queue[ToServer] ─ writeRequests ─> server
//	client <─ writeReplies ─ queue[ToClient] <─ readReplies ─── server
type link struct {
	proxy  *Proxy
	client net.Conn
	server net.Conn

	once sync.Once
	done chan struct{} // closed by end

	mu     sync.Mutex
	change *sync.Cond // on mu: queues, counters, done, or the proxy's weather
	queue  [Both][]message
	lossy  bool // bytes are missing in the middle: not to be used after Heal
	lost   bool // forgotten: it passes nothing on

	// Replies come in the order of the requests, so counting both tells which
	// reply belongs to which. Published messages and confirmations of
	// subscriptions are not counted.
	asked, answered int
	trapped         map[int]*Trap // set for replies, or having held the request, by number
	raw             bool          // the server streams a replica's data: no more replies to tell apart
}

// A message is a whole command, a whole reply, or the end of the stream.
type message struct {
	bytes []byte
	args  []string // of a command
	due   time.Time
	trap  *Trap // holds this reply
	end   bool
}

func newLink(p *Proxy, client, server net.Conn) *link {
	l := &link{proxy: p, client: client, server: server, done: make(chan struct{}), trapped: map[int]*Trap{}}
	l.change = sync.NewCond(&l.mu)
	return l
}

// run passes traffic on until the link has ended.
func (l *link) run() {
	var wg sync.WaitGroup
	wg.Go(l.readRequests)
	wg.Go(l.writeRequests)
	wg.Go(l.readReplies)
	wg.Go(l.writeReplies)
	wg.Wait()
}

// end closes both connections and lets all goroutines of the link return.
func (l *link) end() {
	l.once.Do(func() { close(l.done) })
	l.wake()
	_ = l.client.Close() // the other end sees the rest
	_ = l.server.Close()
}

// reset is end with the connections torn down and not just closed.
func (l *link) reset() {
	for _, conn := range []net.Conn{l.client, l.server} {
		if tcp, ok := conn.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0) // then it closes normally, no harm
		}
	}
	l.end()
}

func (l *link) ended() bool {
	select {
	case <-l.done:
		return true
	default:
		return false
	}
}

// heal ends links that cannot be used any more.
func (l *link) heal() {
	l.mu.Lock()
	lossy := l.lossy
	l.mu.Unlock()
	if lossy {
		l.end()
	}
}

// wake lets waiting goroutines look at the weather again.
func (l *link) wake() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.change.Broadcast()
}

func (l *link) readRequests() {
	in := newRESPReader(l.client)
	for {
		raw, args, err := in.command()
		if err != nil {
			break
		}
		l.push(ToServer, message{bytes: raw, args: args})
	}
	// The client has gone. What it sent before is still delivered.
	l.push(ToServer, message{end: true})
}

func (l *link) readReplies() {
	in := newRESPReader(l.server)
	for l.readReply(in) {
	}
	l.push(ToClient, message{end: true})
}

// readReply takes one reply from the server and reports whether there may be
// more.
func (l *link) readReply(in *respReader) bool {
	if _, err := in.r.Peek(1); err != nil {
		return false
	}
	// A request is noted before it is sent, so raw holds for what we peeked at.
	if l.isRaw() {
		l.copyRaw(in.r)
		return false
	}
	raw, err := in.reply()
	if err != nil {
		return false
	}
	return l.takeReply(raw)
}

func (l *link) isRaw() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.raw
}

func (l *link) copyRaw(in io.Reader) {
	for {
		chunk := make([]byte, 32<<10)
		n, err := in.Read(chunk)
		if n > 0 {
			l.push(ToClient, message{bytes: chunk[:n]})
		}
		if err != nil {
			return
		}
	}
}

// takeReply counts a reply and queues it, in one step: answer relies on a reply
// that is counted being in the queue. It does what a trap demands, and reports
// whether there may be more replies.
func (l *link) takeReply(raw []byte) bool {
	due := l.proxy.due()
	l.mu.Lock()
	defer l.mu.Unlock()
	m := message{bytes: raw, due: due}
	if raw[0] != '>' && l.answered < l.asked { // not published, and asked for
		l.answered++
		m.trap = l.trapped[l.answered]
	}
	if m.trap != nil && m.trap.kind == holdRequest {
		close(m.trap.answered)
		m.trap = nil
	}
	if m.trap != nil {
		close(m.trap.sprung)
		m.end = m.trap.kind == loseReply
	}
	l.queue[ToClient] = append(l.queue[ToClient], m)
	l.change.Broadcast()
	return !m.end
}

// writeRequests ends the link when the server can be written to no more. When
// the client is through it tells the server, whose own end then ends the link.
func (l *link) writeRequests() {
	out := bufio.NewWriter(l.server)
	for {
		m, ok := l.pop(ToServer, out)
		if !ok {
			return
		}
		if m.end {
			flush(out)
			if tcp, ok := l.server.(*net.TCPConn); ok {
				_ = tcp.CloseWrite() // if the server has gone, its end ends the link
			}
			return
		}
		if !l.forward(m, out) {
			l.end()
			return
		}
	}
}

// forward sends a command on, or does to it what a trap or AnswerErr demand. It
// reports whether the link is still of use.
func (l *link) forward(m message, out *bufio.Writer) bool {
	if line := l.proxy.errorFor(m.args); line != "" {
		return out.Flush() == nil && l.answer(line)
	}
	trap := l.proxy.trapFor(m.args)
	if trap == nil {
		l.noteRequest(m.args, nil)
		_, err := out.Write(m.bytes)
		return err == nil
	}
	// Commands before this one are none of its business.
	if out.Flush() != nil {
		return false
	}
	switch trap.kind {
	case loseRequest:
		close(trap.sprung)
		return false
	case holdRequest:
		close(trap.sprung)
		l.hold(trap)
	}
	l.noteRequest(m.args, trap)
	_, err := out.Write(m.bytes)
	return err == nil
}

// errorFor is what AnswerErr says to a command, or "".
func (p *Proxy) errorFor(args []string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if r := p.weather.reply; r != nil && mentions(args, r.words) {
		return r.line
	}
	return ""
}

// noteRequest counts a request that is about to be sent, with the trap that is
// set for its reply or has held it.
func (l *link) noteRequest(args []string, trap *Trap) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(args) == 0 || isPubSub(args[0]) {
		return
	}
	switch strings.ToLower(args[0]) {
	case "psync", "sync":
		l.raw = true
		return
	}
	if l.raw {
		return
	}
	l.asked++
	if trap != nil {
		l.trapped[l.asked] = trap
	}
}

// answer answers in place of the server, after everything that the server itself
// still has to answer.
func (l *link) answer(line string) bool {
	l.mu.Lock()
	for l.answered < l.asked && !l.ended() {
		l.change.Wait()
	}
	l.mu.Unlock()
	l.push(ToClient, message{bytes: []byte(line)})
	return !l.ended()
}

// writeReplies goes on without a client: what it is owed is thrown away, and
// requests that are still held get to the server. It ends the link when the
// server is through.
func (l *link) writeReplies() {
	out := bufio.NewWriter(l.client)
	for {
		m, ok := l.pop(ToClient, out)
		if !ok {
			return
		}
		if m.end {
			flush(out)
			l.end()
			return
		}
		if m.trap != nil {
			flush(out)
			l.hold(m.trap)
		}
		if _, err := out.Write(m.bytes); err != nil {
			out.Reset(io.Discard)
		}
	}
}

// push puts a message into a queue.
func (l *link) push(way Direction, m message) {
	m.due = l.proxy.due()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.queue[way] = append(l.queue[way], m)
	l.change.Broadcast()
}

// pop takes the next message out of a queue when it is due and the weather lets
// it through. It flushes out before it waits. It returns false when the link has
// ended.
func (l *link) pop(way Direction, out *bufio.Writer) (message, bool) {
	for {
		m, ready, ok := l.next(way, out.Buffered() == 0)
		switch {
		case !ok:
			return message{}, false
		case ready:
			return m, true
		}
		flush(out)
		l.sleep(time.Until(m.due))
	}
}

// next looks for the next message. Without one that may go now it waits for it
// if wait is set. It returns ready == false, and the message that is not due
// yet, if any, when the caller should flush, sleep until then, and ask again.
func (l *link) next(way Direction, wait bool) (m message, ready, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		if l.ended() {
			return message{}, false, false
		}
		weather := l.proxy.now()
		switch queue := l.queue[way]; {
		case len(queue) > 0 && time.Now().Before(queue[0].due):
			return queue[0], false, true
		case len(queue) > 0 && (weather.lost[way] || l.lost):
			l.lossy = true
			l.queue[way] = queue[1:]
			continue
		case len(queue) > 0 && !weather.held[way]:
			l.queue[way] = queue[1:]
			return queue[0], true, true
		case !wait:
			return message{}, false, true
		}
		l.change.Wait()
	}
}

// flush sends what out holds. To a connection that is dead it sends nothing ever
// again; that the other end has gone shows where it is read.
func flush(out *bufio.Writer) {
	if out.Flush() != nil {
		out.Reset(io.Discard)
	}
}

// sleep waits for d or the end of the link.
func (l *link) sleep(d time.Duration) {
	select {
	case <-time.After(d):
	case <-l.done:
	}
}

// hold waits until the trap lets go or the link ends.
func (l *link) hold(trap *Trap) {
	select {
	case <-trap.release:
	case <-l.done:
	}
}

// due is when what comes in now may go out.
func (p *Proxy) due() time.Time { return time.Now().Add(p.now().delay) }

// now is the weather of this moment.
func (p *Proxy) now() weather {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.weather
}
