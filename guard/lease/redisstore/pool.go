package redisstore

import "sync"

// pool keeps channels for the callers of a batcher. Each batcher has its own, so that
// none leaves a synctest bubble.
type pool struct {
	channels sync.Pool
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
