package layout_test

import (
	"context"
	"fmt"
	"io"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/jobguard/jobguard/guard/internal/layout"
)

type reply string

func (r reply) Error() string { return string(r) }
func (reply) RedisError()     {}

func TestLayoutIsOutdatedIfANodeIsSilentOrTakesNoWrites(t *testing.T) {
	for want, errs := range map[bool][]error{
		true:  {io.EOF, context.DeadlineExceeded, reply("READONLY You can't write"), fmt.Errorf("renew: %w", reply("CLUSTERDOWN")), reply("MASTERDOWN"), reply("LOADING")},
		false: {nil, redis.Nil, fmt.Errorf("not sent: %w", context.Canceled), reply("WRONGTYPE"), reply("MOVED 1 a:1")},
	} {
		for _, err := range errs {
			if got := layout.Outdated(err); got != want {
				t.Errorf("%v: %v", err, got)
			}
		}
	}
}
