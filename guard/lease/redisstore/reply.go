package redisstore

import (
	"fmt"
	"strings"
	"time"

	"github.com/jobguard/jobguard/guard/lease"
)

// The first number of acquire.lua's reply.
const (
	statusHeld    = 0
	statusGranted = 1
	statusLate    = 2
)

// acquired is a reply of acquire.lua.
type acquired struct {
	lease.AcquireReply
	status int64
	server int64 // its clock, µs

	receivers int64 // of the beacon that the request carried; negative: not known
}

func readAcquired(o *op) (acquired, error) {
	values, err := o.Slice()
	if err != nil {
		return acquired{}, err
	}
	r := reader{values: values}
	a := acquired{status: r.integer(), server: r.integer()}
	switch a.status {
	case statusGranted:
		a.Granted = true
		a.Fence, a.TokenCount = r.integer(), int(r.integer())
	case statusHeld:
		a.Holder = r.text()
		a.Remaining = time.Duration(r.integer()) * time.Millisecond
		a.Ticket, a.Head = r.integer(), r.integer() == 1
		a.receivers = r.integer()
		a.Foreign = foreign(a.Holder)
	}
	return a, r.err
}

// foreign reports whether value, found under a lease key, is another program's: it is
// neither an owner id, a closed marker, nor the marker of several holders in queue.lua.
func foreign(value string) bool {
	return lease.OwnerProcess(value) == "" && !lease.KeptClosed(value) &&
		!strings.HasPrefix(value, "limited|") && !strings.HasPrefix(value, "shared|")
}

// readRenewed reads what a script says of one lease that it was to renew.
func readRenewed(value any) (lease.RenewReply, error) {
	switch value := value.(type) {
	case nil:
		return lease.RenewReply{}, nil
	case int64:
		return lease.RenewReply{Held: true}, nil
	case string:
		return lease.RenewReply{Holder: value}, nil
	case error: // of this lease
		return lease.RenewReply{}, value
	default:
		return lease.RenewReply{}, fmt.Errorf("script's reply has a %T for a lease", value)
	}
}

// reader parses a script's reply. After a value that is missing or of another type
// it returns zeros, and err is set.
type reader struct {
	values []any
	err    error
}

func (r *reader) next() any {
	if len(r.values) == 0 {
		r.err = fmt.Errorf("script's reply is too short")
		return nil
	}
	v := r.values[0]
	r.values = r.values[1:]
	return v
}

func (r *reader) integer() int64 {
	n, ok := r.next().(int64)
	if !ok && r.err == nil {
		r.err = fmt.Errorf("script's reply has no number where one is expected")
	}
	return n
}

func (r *reader) text() string {
	s, ok := r.next().(string)
	if !ok && r.err == nil {
		r.err = fmt.Errorf("script's reply has no text where one is expected")
	}
	return s
}
