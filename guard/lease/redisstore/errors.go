package redisstore

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/jobguard/jobguard/guard/lease"
)

// refusals are the error codes that a retry does not change. All others, such as
// LOADING, READONLY, CLUSTERDOWN, TRYAGAIN and BUSY, are temporary.
var refusals = []string{"OOM", "NOPERM", "NOAUTH", "WRONGPASS", "WRONGTYPE"}

// noPassword is how a server that requires a password answers a long command,
// before it has parsed it.
const noPassword = "ERR Protocol error: unauthenticated"

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
	if redis.HasErrorPrefix(err, "NOAUTH") || strings.Contains(err.Error(), noPassword) {
		err = fmt.Errorf("the server wants a password: %w", err)
	}
	if refused(err) {
		return fmt.Errorf("redisstore: %s: %w: %w", doing, lease.ErrRefused, err)
	}
	return fmt.Errorf("redisstore: %s: %w", doing, err)
}

func refused(err error) bool {
	var reply redis.Error
	if !errors.As(err, &reply) {
		return false
	}
	for _, code := range refusals {
		if redis.HasErrorPrefix(reply, code) {
			return true
		}
	}
	// Redis 5 and 6 wrap the error of a command inside a script; Redis 7 has an
	// error of its own for a script that runs a command its user may not run.
	text := reply.Error()
	if strings.HasPrefix(text, noPassword) {
		return true
	}
	if strings.HasPrefix(text, "ERR Error running script") {
		for _, code := range refusals {
			if strings.Contains(text, ": -"+code+" ") {
				return true
			}
		}
	}
	return strings.HasPrefix(text, "ERR The user executing the script can't")
}
