// Package pending counts work under way and waits for its end.
package pending

import (
	"context"
	"sync"
)

// Counter counts what has begun and not ended. The zero Counter is ready for
// use, by any number of goroutines.
type Counter struct {
	mu   sync.Mutex
	n    int
	none chan struct{} // closed and cleared when n falls to 0; nil while Wait is not in use
}

// Begin counts one more.
func (c *Counter) Begin() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n++
}

// End counts one less. Each Begin needs one End.
func (c *Counter) End() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n--
	if c.n == 0 && c.none != nil {
		close(c.none)
		c.none = nil
	}
}

// Left returns how many are under way.
func (c *Counter) Left() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n
}

// Wait returns 0 as soon as none is under way, or how many are when ctx ends.
func (c *Counter) Wait(ctx context.Context) int {
	c.mu.Lock()
	if c.n == 0 {
		c.mu.Unlock()
		return 0
	}
	if c.none == nil {
		c.none = make(chan struct{})
	}
	none := c.none
	c.mu.Unlock()
	select {
	case <-none:
		return 0
	case <-ctx.Done():
		return c.Left()
	}
}
