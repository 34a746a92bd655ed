package redisstore

import (
	"sync"
	"time"
)

// pool keeps timers and channels for the callers of a batcher. Each batcher has its
// own, so that none leaves a synctest bubble.
type pool struct {
	timers, channels sync.Pool
}

func (p *pool) timer(d time.Duration) *time.Timer {
	if t, ok := p.timers.Get().(*time.Timer); ok {
		t.Reset(d)
		return t
	}
	return time.NewTimer(d)
}

// freeTimer stops t, which also drops an unread tick (since Go 1.23).
func (p *pool) freeTimer(t *time.Timer) {
	t.Stop()
	p.timers.Put(t)
}

func (p *pool) channel() chan struct{} {
	if c, ok := p.channels.Get().(chan struct{}); ok {
		return c
	}
	return make(chan struct{}, 1)
}

// freeChannel takes c back after its one message was received: then its flusher no
// longer uses it.
func (p *pool) freeChannel(c chan struct{}) { p.channels.Put(c) }
