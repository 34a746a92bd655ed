package redisstore

import (
	"fmt"
	"os"
	"strings"
	"time"
)

// Option configures a [Store]. [New] panics if a value is out of bounds.
type Option interface {
	CheckOption
	apply(*options)
}

type option func(*options)

func (f option) apply(o *options) { f(o) }

type options struct {
	prefix     string
	owner      string
	replicas   int // 0: no ReplicaAck
	ackTimeout time.Duration
}

func newOptions(opts []Option) options {
	host, err := os.Hostname()
	if err != nil || !validOwner(host) {
		host = "unknown"
	}
	o := options{prefix: "guard:", owner: fmt.Sprintf("%s:%d", host, os.Getpid())}
	for _, opt := range opts {
		if opt == nil {
			panic("redisstore: New: an Option is nil")
		}
		opt.apply(&o)
	}
	return o
}

// Prefix is put in front of every key and channel; default "guard:". With
// Prefix("") the leases interoperate with SET NX PX locks of other programs
// under the same keys. All processes that guard the same things need the same
// prefix.
//
// A prefix may contain a hash tag, "{jobs}:", which puts everything on one
// shard of a Cluster. It may have no other brace in front of the tag, and no
// control characters.
func Prefix(s string) Option {
	return option(func(o *options) {
		if !validPrefix(s) {
			panic(fmt.Sprintf("redisstore: Prefix(%q): need no control characters, and braces only as a non-empty hash tag such as {jobs}", s))
		}
		o.prefix = s
	})
}

// Owner names this process to operators and to waiters, who find it in the
// value of the lease (lease.OwnerName takes it out); default host:pid. It may not be empty, and may contain
// neither '|' nor control characters.
func Owner(name string) Option {
	return option(func(o *options) {
		if !validOwner(name) {
			panic(fmt.Sprintf("redisstore: Owner(%q): need a name without '|' and control characters", name))
		}
		o.owner = name
	})
}

// ReplicaAck makes every Acquire, Renew and ClaimTick wait until so many replicas
// have the write, for at most timeout (rounded up to 1 ms). An Acquire that fewer
// acknowledge in time is not granted, a Renew did not renew: both return an
// error. This makes a lease that is granted twice by a failover rarer, not
// impossible. Default: no waiting.
//
// The timeout should be well below the guard's TTL. Calls that share a
// round trip wait together.
func ReplicaAck(replicas int, timeout time.Duration) Option {
	return option(func(o *options) {
		if replicas < 1 || timeout <= 0 {
			panic(fmt.Sprintf("redisstore: ReplicaAck(%d, %v): need at least 1 replica and a positive timeout", replicas, timeout))
		}
		o.replicas, o.ackTimeout = replicas, timeout
	})
}

// validPrefix: Redis hashes the text between the first '{' and the next '}', if that
// is not empty, else the whole key. So a prefix needs a complete tag, which decides
// the slot, or no brace. With "a{" or "{}" the tag of a companion would be ignored,
// and its slot differ from the lease's.
func validPrefix(s string) bool {
	if i := strings.IndexAny(s, "{}"); i >= 0 {
		if j := strings.IndexByte(s[i:], '}'); s[i] != '{' || j < 2 {
			return false
		}
	}
	return !strings.ContainsFunc(s, isControl)
}

func validOwner(s string) bool {
	return s != "" && !strings.ContainsRune(s, '|') && !strings.ContainsFunc(s, isControl)
}

// metadataText drops characters that would make an owner id ambiguous.
func metadataText(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '|' || isControl(r) {
			return -1
		}
		return r
	}, s)
}

func isControl(r rune) bool { return r < 0x20 || r == 0x7f }
