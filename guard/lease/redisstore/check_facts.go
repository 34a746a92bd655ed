package redisstore

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
)

// facts is what a server says of itself. A map is nil if the user may not ask.
type facts struct {
	info    map[string]string
	config  map[string]string
	cluster map[string]string
}

// settingsRead are those that INFO does not have.
var settingsRead = []string{
	"appendfsync", "save", "min-replicas-to-write", "min-replicas-max-lag", "timeout", "client-output-buffer-limit",
}

func read(ctx context.Context, n node, missing *unchecked) facts {
	var f facts
	if text, err := n.client.Info(ctx).Result(); err != nil {
		missing.add(err, "info", "version, memory, persistence and replicas")
	} else {
		f.info = pairs(text)
	}
	config := make(map[string]string)
	for _, name := range settingsRead {
		values, err := n.client.ConfigGet(ctx, name).Result()
		if err != nil {
			missing.add(err, "config|get", "fsync, min-replicas-to-write, timeout and Pub/Sub buffers")
			config = nil
			break
		}
		for name, value := range values {
			config[name] = value
		}
	}
	f.config = config
	if n.cluster {
		if text, err := n.client.ClusterInfo(ctx).Result(); err != nil {
			missing.add(err, "cluster|info", "whether all slots are served")
		} else {
			f.cluster = pairs(text)
		}
		if err := n.client.ClusterNodes(ctx).Err(); err != nil {
			missing.add(err, "cluster|nodes", "moves of slots that were left half done")
		}
	}
	return f
}

// pairs reads lines of the form name:value.
func pairs(text string) map[string]string {
	m := make(map[string]string)
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			m[name] = value
		}
	}
	return m
}

// number reads a value of INFO; 0 if it is none.
func number(m map[string]string, name string) int64 {
	v, _ := strconv.ParseInt(m[name], 10, 64)
	return v
}

// replica is a line of INFO's section about replication.
type replica struct {
	addr, state string
	lag, offset int64 // seconds since its last acknowledgement; bytes
}

func (f facts) replicas() []replica {
	var all []replica
	for i := range number(f.info, "connected_slaves") {
		line, ok := f.info[fmt.Sprintf("slave%d", i)]
		if !ok {
			break
		}
		m := make(map[string]string)
		for field := range strings.SplitSeq(line, ",") {
			name, value, _ := strings.Cut(field, "=")
			m[name] = value
		}
		all = append(all, replica{addr: m["ip"] + ":" + m["port"], state: m["state"], lag: number(m, "lag"), offset: number(m, "offset")})
	}
	return all
}

// sentinels is how many Sentinels watch the server: each listens on this channel. A Store's
// user may ask.
func sentinels(ctx context.Context, client redis.UniversalClient) int64 {
	const hello = "__sentinel__:hello"
	return client.PubSubNumSub(ctx, hello).Val()[hello]
}

// unchecked is what could not be read, by the right that it needs.
type unchecked []struct {
	right, what string
	err         error
}

func (u *unchecked) add(err error, right, what string) {
	*u = append(*u, struct {
		right, what string
		err         error
	}{right, what, err})
}

func (e *examination) unchecked(n node, missing unchecked) {
	var whats, rights []string
	denied := true
	for _, m := range missing {
		whats = append(whats, m.what)
		rights = append(rights, "+"+m.right)
		denied = denied && redis.HasErrorPrefix(m.err, "NOPERM")
	}
	why := n.says("does not tell this user, whose rights may suffice for leases: " + strings.Join(whats, "; "))
	fix := "check as an operator, or ACL SETUSER " + e.user + " " + strings.Join(rights, " ")
	if !denied {
		why = n.says("does not tell: " + strings.Join(whats, "; ") + " (" + missing[len(missing)-1].err.Error() + ")")
		fix = "ask whoever runs it, or let the proxy pass " + strings.Join(rights, " ")
	}
	e.note("unchecked", Unknown, why, fix)
}
