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

// refusals are the error codes that will be the same the next time. All others,
// LOADING, READONLY, CLUSTERDOWN, TRYAGAIN, BUSY and their like, pass.
var refusals = []string{"OOM", "NOPERM", "NOAUTH", "WRONGPASS", "WRONGTYPE"}

// noPassword is what a server that wants a password says to a long command, before it
// has read which it is.
const noPassword = "ERR Protocol error: unauthenticated"

// fault says what failed, and marks answers that a retry will not change. A
// socket that gave up at ctx's deadline says so in its own words, perhaps before
// ctx's timer fires; context.DeadlineExceeded is added.
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
	// Redis 5 and 6 wrap what a command inside a script said; Redis 7 has its
	// own words for a user who may run the script but not what is in it.
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
