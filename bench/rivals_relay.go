package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"
)

// relayRival says what can be had where many processes pass one key on: as in any lock that
// keeps a queue and wakes its head, a turn is two requests and a message.
func relayRival() rival {
	return rival{
		name: nameRelay,
		only: oneKey64x1,
		setup: "The least that a lock with a queue does when it passes a key on: a script of one or two commands to join, another of two or three to release and publish to the next, over " +
			"bare sockets, without a client library. No TTL, no renewal, no token; a client that dies stops it for ever. Not a lock to use, but the speed that a handoff has at best.",
		open: func(addrs []string, _ setup) (Locker, error) { return openRelay(addrs[0]) },
	}
}

// The queue of KEYS[1] is KEYS[2]; ARGV[1] is the client, and its channel.
const (
	relayJoin = `if redis.call('SET', KEYS[1], ARGV[1], 'NX') then return 1 end
redis.call('RPUSH', KEYS[2], ARGV[1])
return 0`
	relayPass = `local next = redis.call('LPOP', KEYS[2])
if next then
	redis.call('SET', KEYS[1], next)
	redis.call('PUBLISH', next, '')
else
	redis.call('DEL', KEYS[1])
end
return 1`
)

// relay is for one goroutine.
type relay struct {
	name        string
	ask, inbox  wire
	join, leave string // digests of the scripts
}

func openRelay(addr string) (_ *relay, err error) {
	r := &relay{}
	defer func() {
		if err != nil {
			_ = r.Close() // the error before it matters
		}
	}()
	if r.ask, err = openWire(addr); err != nil {
		return nil, err
	}
	if r.inbox, err = openWire(addr); err != nil {
		return nil, err
	}
	r.name = r.ask.conn.LocalAddr().String()
	if r.join, err = r.ask.call("SCRIPT", "LOAD", relayJoin); err != nil {
		return nil, err
	}
	if r.leave, err = r.ask.call("SCRIPT", "LOAD", relayPass); err != nil {
		return nil, err
	}
	_, err = r.inbox.call("SUBSCRIBE", r.name)
	return r, err
}

// Do leaves its name in the queue if ctx ends: at the end of a race nobody minds.
func (r *relay) Do(ctx context.Context, key string, fn func(token int64, ok bool)) error {
	got, err := r.ask.call("EVALSHA", r.join, "2", key, key+":queue", r.name)
	if err != nil {
		return err
	}
	if got == "0" {
		stop := context.AfterFunc(ctx, func() { _ = r.inbox.conn.SetReadDeadline(time.Now()) }) // only fails for a closed one
		_, err := r.inbox.reply()
		if !stop() {
			return context.Cause(ctx)
		}
		if err != nil {
			return err
		}
	}
	fn(0, false)
	_, err = r.ask.call("EVALSHA", r.leave, "2", key, key+":queue")
	return err
}

func (r *relay) Close() error { return errors.Join(r.ask.close(), r.inbox.close()) }

// wire is a connection that speaks as much of RESP as the relay needs.
type wire struct {
	conn net.Conn
	in   *bufio.Reader
	out  []byte
}

func openWire(addr string) (wire, error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return wire{}, fmt.Errorf("open a connection: %w", err)
	}
	return wire{conn: conn, in: bufio.NewReader(conn)}, nil
}

func (w *wire) close() error {
	if w.conn == nil {
		return nil
	}
	return w.conn.Close()
}

func (w *wire) call(args ...string) (string, error) {
	w.out = fmt.Appendf(w.out[:0], "*%d\r\n", len(args))
	for _, a := range args {
		w.out = append(strconv.AppendInt(append(w.out, '$'), int64(len(a)), 10), "\r\n"...)
		w.out = append(append(w.out, a...), "\r\n"...)
	}
	if _, err := w.conn.Write(w.out); err != nil {
		return "", err
	}
	return w.reply()
}

// reply reads one reply, or message, and returns its last value.
func (w *wire) reply() (value string, err error) {
	line, err := w.in.ReadString('\n')
	if err != nil {
		return "", err
	}
	kind, value := line[0], strings.TrimRight(line[1:], "\r\n")
	switch kind {
	case '-':
		return "", errors.New(value)
	case '$':
		text, err := w.in.ReadString('\n') // nothing we ask for has line breaks, or is null
		return strings.TrimRight(text, "\r\n"), err
	case '*':
		n, _ := strconv.Atoi(value) // a server's
		for range n {
			if value, err = w.reply(); err != nil {
				return "", err
			}
		}
	}
	return value, nil
}
