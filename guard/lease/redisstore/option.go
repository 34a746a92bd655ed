package redisstore

import (
	"fmt"
	"os"
	"strings"
	"time"
)

// Option configures a [Store]. A value that cannot be meant panics in [New].
type Option func(*config)

type config struct {
	prefix     string
	owner      string
	replicas   int // 0: none asked for
	ackTimeout time.Duration
}

func defaults() config {
	host, err := os.Hostname()
	if err != nil || !validOwner(host) {
		host = "unknown"
	}
	return config{prefix: "guard:", owner: fmt.Sprintf("%s:%d", host, os.Getpid())}
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
	// Redis hashes what is between the first '{' and the first '}' after it, if
	// that is not empty, and else the whole key. A prefix with a complete tag
	// settles the slot of every name that begins with it. A prefix without
	// braces leaves it to what follows: in a companion our own tag. With "a{",
	// "{}" or the like the two would meet: the companion's tag would be cut
	// elsewhere or ignored, and land in another slot than the lease.
	if i := strings.IndexAny(s, "{}"); i >= 0 {
		if j := strings.IndexByte(s[i:], '}'); s[i] != '{' || j < 2 {
			panic(fmt.Sprintf("redisstore: Prefix(%q): braces must form a non-empty hash tag such as {jobs}", s))
		}
	}
	if strings.ContainsFunc(s, isControl) {
		panic(fmt.Sprintf("redisstore: Prefix(%q): control characters", s))
	}
	return func(c *config) { c.prefix = s }
}

// Owner names this process to operators and to waiters, who find it in the
// value of the lease; default host:pid. It may not be empty, and may contain
// neither '|' nor control characters.
func Owner(name string) Option {
	if !validOwner(name) {
		panic(fmt.Sprintf("redisstore: Owner(%q): empty, or with '|' or control characters", name))
	}
	return func(c *config) { c.owner = name }
}

// ReplicaAck makes every Acquire and Renew wait until so many replicas have the
// write, for at most timeout (rounded up to 1 ms). An Acquire that fewer
// acknowledge in time is not granted, a Renew did not renew: both return an
// error. This makes a lease that is handed out twice by a failover rarer, not
// impossible. Default: no waiting.
//
// The timeout should be well below the guard's TTL. Calls that share a
// round trip wait together.
func ReplicaAck(replicas int, timeout time.Duration) Option {
	if replicas < 1 || timeout <= 0 {
		panic(fmt.Sprintf("redisstore: ReplicaAck(%d, %v): both must be positive", replicas, timeout))
	}
	return func(c *config) { c.replicas, c.ackTimeout = replicas, timeout }
}

func validOwner(s string) bool {
	return s != "" && !strings.ContainsRune(s, '|') && !strings.ContainsFunc(s, isControl)
}

// metadataText drops what would make an owner id ambiguous.
func metadataText(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '|' || isControl(r) {
			return -1
		}
		return r
	}, s)
}

func isControl(r rune) bool { return r < 0x20 || r == 0x7f }
