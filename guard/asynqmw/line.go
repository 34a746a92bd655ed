package asynqmw

import (
	"context"
	_ "embed" // for the scripts
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// line is, for each key and queue, the order in which deferred tasks are to run. It is
// kept in asynq's Redis and is a hint: a task in it is also due to be retried, and the
// guard alone decides who runs. One task of a key at a time has the turn; a run that ends
// gives it to the next and makes that one pending. A nil line lets all tasks try.
type line struct {
	redis redis.UniversalClient
	// patience is how often a task that arrives asks for those that were handed out
	// earlier. Those of other handlers never come: it is halved if one does not.
	patience atomic.Int64
}

const (
	turnTime     = 5 * time.Second // how long others wait for a task that has the turn: a crash is assumed then, or a long run
	lineTime     = time.Hour       // how long a line is kept after its last change
	redisTimeout = 2 * time.Second // of a request
	maxPatience  = 500             // what patience begins with: half a second. A run that ends has as much with a task on its way to asynq's retry set
	askInterval  = time.Millisecond
)

var (
	//go:embed scripts/line.lua
	common string // stands before each of the others
	//go:embed scripts/arrive.lua
	arriveSource string
	//go:embed scripts/leave.lua
	leaveSource string
	//go:embed scripts/call.lua
	callSource string

	arriveScript = redis.NewScript(common + arriveSource)
	leaveScript  = redis.NewScript(common + leaveSource)
	callScript   = redis.NewScript(common + callSource)
)

// verdict is a reply of arrive.lua.
type verdict int64

const (
	askAgain verdict = iota
	putOff
	first  // no other task waits
	called // by a run that ended
	back   // by itself, when it was due
)

// run runs a script for a; how is what it takes besides. Keys are in the namespace of
// asynq: its user may have rights to no other. No reply is an error of Redis.
func (l *line) run(ctx context.Context, script *redis.Script, a *attempt, how any) (reply []any, n int64) {
	asynq := "asynq:{" + a.queue + "}:"
	keys := []string{asynq + "jobguard:line:" + a.key, asynq + "jobguard:turn:" + a.key}
	for _, name := range []string{"jobguard:seen", "active", "pending", "retry", "scheduled"} {
		keys = append(keys, asynq+name)
	}
	reply = bounded(ctx, func(ctx context.Context) []any {
		reply, _ := script.Run(ctx, l.redis, keys, a.id, a.name, how, asynq+"t:",
			time.Now().UnixNano(), turnTime.Milliseconds(), lineTime.Milliseconds()).Slice()
		return reply
	})
	if len(reply) > 0 {
		n, _ = reply[0].(int64)
	}
	return reply, n
}

// arrive asks whether a may try its key. If Redis cannot say, it may.
func (l *line) arrive(ctx context.Context, a *attempt) verdict {
	if l == nil {
		return first
	}
	patience := l.patience.Load()
	for try := int64(0); ; try++ {
		reply, v := l.run(ctx, arriveScript, a, try >= patience)
		if len(reply) != 2 {
			return first
		}
		a.rank, _ = reply[1].(int64)
		a.place, _ = reply[1].(string)
		switch {
		case verdict(v) == askAgain:
			time.Sleep(askInterval)
			continue
		case try >= patience:
			l.patience.Store(max(1, patience/2))
		case try > 0:
			l.patience.Store(min(maxPatience, patience+1))
		}
		return verdict(v)
	}
}

// leave puts a task that had the turn back at its place. again: the key has become
// free, it can try it once more.
func (l *line) leave(ctx context.Context, a *attempt) (again bool) {
	if l == nil {
		return false
	}
	_, a.rank = l.run(ctx, leaveScript, a, a.place)
	return a.rank < 0
}

// call calls the next task, as a's run begins or ends.
func (l *line) call(ctx context.Context, a *attempt, ends bool) {
	how := -1
	if ends {
		how = maxPatience
	}
	for ; ; how-- {
		if _, n := l.run(ctx, callScript, a, how); n != 2 || !ends {
			return
		}
		time.Sleep(askInterval)
	}
}

// bounded returns f's result, or zero after redisTimeout or a quarter of ctx's time, as
// go-redis does not end a read when its context ends. The goroutine ends with the
// request.
func bounded[T any](ctx context.Context, f func(context.Context) T) (result T) {
	limit := redisTimeout
	if end, ok := ctx.Deadline(); ok {
		limit = min(limit, max(limit/10, time.Until(end)/4))
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	results := make(chan T, 1)
	go func() {
		defer cancel()
		results <- f(ctx)
	}()
	select {
	case result = <-results:
	case <-time.After(limit):
	}
	return result
}
