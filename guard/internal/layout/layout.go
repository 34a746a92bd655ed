// Package layout knows when the layout of a Redis Cluster, as a client knows it, may be out
// of date. By itself go-redis v9.23 loads it again after a redirection, and each
// ClusterStateReloadInterval, a minute by default: not after the death of a master.
package layout

import (
	"context"
	"errors"

	"github.com/redis/go-redis/v9"
)

// Outdated reports whether err, of a command, says that its node did not answer or takes no
// writes: another one may serve its slots by now.
func Outdated(err error) bool {
	var reply redis.Error
	switch {
	case err == nil, errors.Is(err, context.Canceled): // the caller left
		return false
	case !errors.As(err, &reply):
		return true
	}
	for _, code := range []string{"READONLY", "CLUSTERDOWN", "MASTERDOWN", "LOADING"} {
		if redis.HasErrorPrefix(err, code) {
			return true
		}
	}
	return false
}
