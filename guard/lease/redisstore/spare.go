package redisstore

import (
	"context"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

const (
	// A connection of a spare client that was used within spareFresh is as good as a
	// new one: what drops connections drops those that are idle.
	spareFresh = time.Second
	// spareIdle is how long a spare client is kept after its last use.
	spareIdle = 5 * time.Second
	// maxSpare bounds its connections. Each command that hangs has one until its
	// deadline.
	maxSpare = 32
)

// spares are the clients of the Store's own, by address.
type spares struct {
	mu     sync.Mutex
	byAddr map[string]*spare
}

func (s *spares) at(addr string) *spare {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byAddr == nil {
		s.byAddr = make(map[string]*spare)
	}
	if s.byAddr[addr] == nil {
		s.byAddr[addr] = &spare{addr: addr}
	}
	return s.byAddr[addr]
}

// spare is a client of the Store's own to a node, for commands that are sent again: its
// connections are fresh, and none of the program's commands keeps them. It is opened by
// the first use and closed by a timer, spareIdle after the last.
//
// It has the options of the program's client, to the same node or to another of its
// Cluster, without its hooks.
type spare struct {
	addr string

	mu     sync.Mutex
	client *redis.Client // nil: closed
	users  int
	close  *time.Timer
}

// send sends ops over s, whose options are those of like.
func (s *spare) send(ctx context.Context, like *redis.Client, to func(redis.UniversalClient) sender, ops []*op) {
	client := s.take(like)
	defer s.giveBack()
	to(client)(ctx, ops)
}

func (s *spare) take(like *redis.Client) *redis.Client {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.users++
	if s.close != nil {
		s.close.Stop()
	}
	if s.client == nil {
		options := spareOptions(like.Options())
		options.Addr = s.addr
		s.client = redis.NewClient(options)
	}
	return s.client
}

func (s *spare) giveBack() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.users--
	if s.users > 0 {
		return
	}
	if s.close == nil {
		s.close = time.AfterFunc(spareIdle, s.closeIdle)
	} else {
		s.close.Reset(spareIdle)
	}
}

func (s *spare) closeIdle() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.users == 0 && s.client != nil {
		_ = s.client.Close() // nothing to be done about it
		s.client = nil
	}
}

// spareOptions are those of a client that connects in as few round trips as
// possible, opens no connection before it needs one, and has no goroutine of its own.
func spareOptions(o *redis.Options) *redis.Options {
	n := *o
	n.ContextTimeoutEnabled = true
	n.ReadTimeout, n.WriteTimeout = max(n.ReadTimeout, 0), max(n.WriteTimeout, 0)
	n.PoolSize, n.MaxActiveConns, n.MaxConcurrentDials = maxSpare, maxSpare, maxSpare
	n.MinIdleConns, n.MaxIdleConns, n.PipelinePoolSize = 0, maxSpare, -1
	n.ConnMaxIdleTime, n.PoolTimeout = spareFresh, 0
	n.DialerRetries = 1
	n.DisableIdentity = true
	n.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	n.OnConnect = func(ctx context.Context, conn *redis.Conn) error {
		if o.OnConnect != nil {
			if err := o.OnConnect(ctx, conn); err != nil {
				return err
			}
		}
		return ctx.Err() // the command was answered meanwhile: it must not be sent any more
	}
	n.ClientSideCache, n.ClientSideCacheConfig, n.PushNotificationProcessor = nil, nil, nil
	return &n
}
