package redisstore

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"

	"github.com/redis/go-redis/v9"

	"github.com/jobguard/jobguard/guard/lease"
)

// refusals are the error codes that a retry does not change. All others, such as
// LOADING, READONLY, CLUSTERDOWN, TRYAGAIN and BUSY, are temporary.
var refusals = []string{"OOM", "NOPERM", "NOAUTH", "WRONGPASS", "WRONGTYPE"}

// noPassword is how a server that requires a password answers a long command,
// before it has parsed it.
const noPassword = "ERR Protocol error: unauthenticated"

// refusedTexts begin errors without a code of their own that a retry does not change.
var refusedTexts = []string{
	noPassword,
	"ERR The user executing the script can't", // Redis 7.0: a command in a script without permission
	"ERR ACL failure in script",               // the same on Redis 7.2 and later, and Valkey
	"ERR unknown command",                     // renamed, or a proxy that does not pass it
	"ERR Unknown Redis command called from script",
	"ERR Unknown command called from script",
}

// fault wraps err with the failed call, lease.ErrRefused if a retry is useless, and
// ctx's error. A socket may time out at ctx's deadline with an error of its own, before
// ctx's timer fires: context.DeadlineExceeded is added.
func fault(ctx context.Context, doing string, err error) error {
	var network net.Error
	if errors.As(err, &network) && network.Timeout() && !errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("%w: %w", context.DeadlineExceeded, err)
	}
	if ended := ctx.Err(); ended != nil && !errors.Is(err, ended) {
		err = fmt.Errorf("%w: %w", ended, err)
	}
	if hint := hint(err); hint != "" {
		err = fmt.Errorf("%s: %w", hint, err)
	}
	if refused(err) {
		return fmt.Errorf("redisstore: %s: %w: %w", doing, lease.ErrRefused, err)
	}
	return fmt.Errorf("redisstore: %s: %w", doing, err)
}

// hint says what an error usually means whose own words do not.
func hint(err error) string {
	switch {
	case redis.HasErrorPrefix(err, "NOAUTH"), strings.Contains(err.Error(), noPassword):
		return "the server wants a password"
	case noRedis(err):
		return "the server does not speak the protocol of Redis"
	}
	return ""
}

func refused(err error) bool {
	if err == nil {
		return false
	}
	if errors.Is(err, redis.ErrClosed) || noRedis(err) || badTLS(err) {
		return true
	}
	var reply redis.Error
	if !errors.As(err, &reply) {
		return false
	}
	for _, code := range refusals {
		if redis.HasErrorPrefix(reply, code) {
			return true
		}
	}
	text := reply.Error()
	for _, known := range refusedTexts {
		if strings.HasPrefix(text, known) {
			return true
		}
	}
	// Redis 5 and 6 wrap the error of a command inside a script.
	if strings.HasPrefix(text, "ERR Error running script") {
		for _, code := range refusals {
			if strings.Contains(text, ": -"+code+" ") {
				return true
			}
		}
	}
	return false
}

// noRedis recognises, by go-redis' words, an answer that is none of Redis'.
func noRedis(err error) bool {
	text := err.Error()
	return strings.Contains(text, "redis: can't parse") || strings.Contains(text, "redis: invalid reply")
}

// badTLS tells that the two sides do not agree on TLS, or on who the server is.
func badTLS(err error) bool {
	var record tls.RecordHeaderError
	var certificate *tls.CertificateVerificationError
	var host x509.HostnameError
	var authority x509.UnknownAuthorityError
	return errors.As(err, &record) || errors.As(err, &certificate) ||
		errors.As(err, &host) || errors.As(err, &authority)
}

// errNeverAnswered says what it usually means that connections are closed before
// the first answer. It is no refusal: a proxy whose server is just starting closes
// them too, and what was sent may have had its effect.
var errNeverAnswered = errors.New("the server has never answered and closes connections: does it expect TLS, or does a proxy not pass HELLO?")

// isReply reports whether err is the server's reply.
func isReply(err error) bool {
	var reply redis.Error
	return errors.As(err, &reply)
}

// firstContact notes whether the server has ever answered.
type firstContact struct{ made atomic.Bool }

// note looks at commands that have their outcome.
func (f *firstContact) note(ops []*op) {
	if f.made.Load() {
		return
	}
	for _, o := range ops {
		if o.unanswered != nil {
			continue
		}
		err := o.outcome()
		switch {
		case err == nil, isReply(err):
			f.made.Store(true)
			return
		case errors.Is(err, io.EOF):
			o.unanswered = fmt.Errorf("%w: %w", errNeverAnswered, err)
		}
	}
}
