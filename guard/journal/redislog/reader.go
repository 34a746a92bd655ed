package redislog

import (
	"fmt"
	"strconv"
	"time"

	"github.com/jobguard/jobguard/guard/journal/record"
)

// reader takes a reply apart, and remembers the first thing that was not as expected.
type reader struct {
	doing  string
	values []any
	err    error
}

func (r *reader) next() any {
	if len(r.values) == 0 {
		if r.err == nil {
			r.err = fmt.Errorf("redislog: %s: the reply is too short", r.doing)
		}
		return nil
	}
	v := r.values[0]
	r.values = r.values[1:]
	return v
}

// text is "" for nil.
func (r *reader) text() string {
	switch v := r.next().(type) {
	case nil:
	case string:
		return v
	default:
		if r.err == nil {
			r.err = fmt.Errorf("redislog: %s: %v in the reply is no text", r.doing, v)
		}
	}
	return ""
}

// number is 0 for nil.
func (r *reader) number() int64 {
	switch v := r.next().(type) {
	case nil:
	case int64:
		return v
	case string:
		n, err := strconv.ParseInt(v, 10, 64)
		if err != nil && r.err == nil {
			r.err = fmt.Errorf("redislog: %s: a number in the reply: %w", r.doing, err)
		}
		return n
	default:
		if r.err == nil {
			r.err = fmt.Errorf("redislog: %s: %v in the reply is no number", r.doing, v)
		}
	}
	return 0
}

// bytes is nil for nil, and for nothing.
func (r *reader) bytes() []byte {
	if s := r.text(); s != "" {
		return []byte(s)
	}
	return nil
}

// fields of a record, in the order of record.
var fields = []string{"K", "k", "p", "c", "r", "f", "a", "t", "e"}

func (r *reader) record(id string) record.Record {
	rec := record.Record{ID: id, Kind: r.text(), Key: r.text(), Payload: r.bytes(), Checkpoint: r.bytes()}
	rec.Reason, rec.Fence, rec.Attempt = record.Reason(r.text()), r.number(), int(r.number())
	rec.Started, rec.Err = time.UnixMicro(r.number()), r.text()
	rec.LatestFence = rec.Fence
	return rec
}
