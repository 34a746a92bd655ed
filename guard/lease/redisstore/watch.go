package redisstore

import (
	"context"
	"runtime"
	"slices"
	"time"
)

// watch is the one timer for all commands of a batcher whose callers leave it to the
// batcher to end their wait. It fires at the first deadline, or for nothing, which
// costs less than to set it anew for every command. Guarded by batcher.mu.
type watch struct {
	timer *time.Timer
	armed time.Time // when it fires; zero: it is not set
}

// restFactor times as long as it took to look at all commands it is not done again.
const restFactor = 20

// letOthersRun returns at once, unless very many goroutines are ready to run: a reply
// may have arrived that this process had no time to read.
func letOthersRun() {
	began := time.Now()
	runtime.Gosched()
	if late := time.Since(began); late > time.Millisecond {
		time.Sleep(2 * late)
	}
}

// watchLocked has expire called at that time; zero is never.
func (b *batcher) watchLocked(at time.Time) {
	w := &b.watch
	if at.IsZero() || !w.armed.IsZero() && !at.Before(w.armed) {
		return
	}
	w.armed = at
	if w.timer == nil {
		w.timer = time.AfterFunc(time.Until(at), b.expire)
		return
	}
	w.timer.Reset(time.Until(at))
}

// expire ends the wait of the commands whose time is over. It runs on the timer's
// goroutine.
func (b *batcher) expire() {
	letOthersRun()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.watch.armed = time.Time{}
	now := time.Now()
	end := func(o *op) {
		b.giveUpLocked(context.DeadlineExceeded, o)
		o.tell()
	}
	next := b.unsent.expire(now, end)
	for _, f := range slices.Clone(b.flights) {
		for _, o := range f.ops {
			switch {
			case o.attempt == nil || o.over || o.unanswered != nil:
			case o.deadline.After(now):
				next = earlier(next, o.deadline)
			default:
				end(o)
			}
		}
	}
	if next.IsZero() {
		return
	}
	if rested := time.Now().Add(restFactor * time.Since(now)); next.Before(rested) {
		next = rested
	}
	b.watchLocked(next)
}
