package redisstore

import (
	"errors"
	"fmt"
	"strings"

	"github.com/jobguard/jobguard/guard/lease"
	"github.com/redis/go-redis/v9"
)

// refusals are the error codes that will be the same the next time. All others,
// LOADING, READONLY, CLUSTERDOWN, TRYAGAIN, BUSY and their like, pass.
var refusals = []string{"OOM", "NOPERM", "NOAUTH", "WRONGPASS", "WRONGTYPE"}

// fault says what failed, and marks answers that a retry will not change.
func fault(doing string, err error) error {
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
	if strings.HasPrefix(text, "ERR Error running script") {
		for _, code := range refusals {
			if strings.Contains(text, ": -"+code+" ") {
				return true
			}
		}
	}
	return strings.HasPrefix(text, "ERR The user executing the script can't")
}
