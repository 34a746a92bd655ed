package redistest

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// A respReader cuts a stream of RESP2 or RESP3 into whole commands or replies,
// each as its raw bytes.
type respReader struct {
	r *bufio.Reader
}

func newRESPReader(r io.Reader) *respReader {
	return &respReader{r: bufio.NewReader(r)}
}

// command reads one command as clients send it: an array of bulk strings, or an
// inline line.
func (r *respReader) command() (raw []byte, args []string, err error) {
	head, err := r.line()
	if err != nil {
		return nil, nil, err
	}
	if head[0] != '*' {
		return head, strings.Fields(string(head)), nil
	}
	n, err := length(head)
	if err != nil {
		return nil, nil, err
	}
	raw = head
	for range n {
		bulk, err := r.reply()
		if err != nil {
			return nil, nil, err
		}
		raw = append(raw, bulk...)
		_, arg, _ := bytes.Cut(bulk, []byte("\r\n"))
		args = append(args, string(bytes.TrimSuffix(arg, []byte("\r\n"))))
	}
	return raw, args, nil
}

// reply reads one whole reply, nested or not.
func (r *respReader) reply() ([]byte, error) {
	raw, err := r.line()
	if err != nil {
		return nil, err
	}
	var parts int
	switch raw[0] {
	case '$', '=', '!': // strings with a length
		n, err := length(raw)
		if err != nil || n < 0 {
			return raw, err
		}
		text := make([]byte, n+len("\r\n"))
		if _, err := io.ReadFull(r.r, text); err != nil {
			return nil, err
		}
		return append(raw, text...), nil
	case '*', '~', '>': // array, set, push
		if parts, err = length(raw); err != nil {
			return nil, err
		}
	case '%', '|': // map; attributes, which the value itself follows
		if parts, err = length(raw); err != nil {
			return nil, err
		}
		parts *= 2
		if raw[0] == '|' {
			parts++
		}
	}
	for range parts {
		part, err := r.reply()
		if err != nil {
			return nil, err
		}
		raw = append(raw, part...)
	}
	return raw, nil
}

// line reads up to and including CRLF. It is never empty.
func (r *respReader) line() ([]byte, error) {
	line, err := r.r.ReadBytes('\n')
	if err != nil {
		return nil, err
	}
	return line, nil
}

// length is the number in "$5\r\n", or -1 for a RESP2 null.
func length(head []byte) (int, error) {
	n, err := strconv.Atoi(strings.TrimSpace(string(head[1:])))
	if err != nil {
		return 0, fmt.Errorf("length in %q: %w", head, err)
	}
	return n, nil
}
