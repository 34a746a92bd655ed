package redisstore

import (
	"errors"
	"strconv"
	"strings"

	"github.com/jobguard/jobguard/guard/lease"
)

// message is what the scripts publish to an inbox.
type message struct {
	beacon int64      // its number; 0: not one. Then nothing else is set.
	stop   lease.Stop // of an owner that is asked to stop; then lease is set beside it

	place   string // of the waiter, as in argument.lua
	owner   string // "" if the message has another form
	grant   bool   // owner was granted lease; else it should ask again
	granted int64  // when, by the server's clock in µs
	fence   int64  // the first token minted for it; 0 for one that is not exclusive
	tokens  int    // how many were minted
	lease   string // the key, with the prefix
}

// readMessage parses "<place>;<owner>\n<granted>\n<tokens>\n<lease>" and "\n<beacon>".
// Tokens are "<first>", or "<first>+<how many>"; "" is no grant. "stop <kind>\n<owner>\n<lease>\n<text>" asks to stop.
func readMessage(payload string) message {
	if number, ok := strings.CutPrefix(payload, "\n"); ok {
		n, _ := strconv.ParseInt(number, 10, 64)
		return message{beacon: n}
	}
	parts := strings.Split(payload, "\n")
	if kind, ok := strings.CutPrefix(parts[0], "stop "); ok && len(parts) == 4 {
		return message{stop: lease.Stop{Owner: parts[1], Kind: lease.StopKind(kind), Text: parts[3]}, lease: parts[2]}
	}
	place, owner, ok := strings.Cut(parts[0], ";")
	if !ok || len(parts) != 4 {
		return message{}
	}
	m := message{place: place, owner: owner, lease: parts[3]}
	granted, err1 := strconv.ParseInt(parts[1], 10, 64)
	first, count, several := strings.Cut(parts[2], "+")
	fence, err2 := strconv.ParseInt(first, 10, 64)
	tokens, err3 := 1, error(nil)
	if several {
		tokens, err3 = strconv.Atoi(count)
	}
	if errors.Join(err1, err2, err3) == nil && tokens > 0 {
		m.grant, m.granted, m.fence, m.tokens = true, granted, fence, tokens
	}
	return m
}
