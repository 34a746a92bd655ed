package redisstore

import "time"

// A connection that something in the network has dropped without a word looks like
// one over which the answer takes long. So a flight without an answer goes on, and
// its commands are sent again over a fresh connection, after doubt, and after three
// times that, and so on until the callers have an answer or have left. The first answer
// counts, whichever round trip it belongs to. If it came over the fresh connection,
// the idle ones are swept.

// resend sends the commands of f again that are still waited for. It runs on the
// timer's goroutine, one for each round trip, which ends as flush does.
func (b *batcher) resend(f *flight, doubt time.Duration) {
	b.mu.Lock()
	var ops, twins []*op
	for _, o := range f.ops {
		if !o.over && o.unanswered == nil && !o.once {
			o.resent = true
			ops, twins = append(ops, o), append(twins, o.twin())
		}
	}
	if ops == nil {
		b.mu.Unlock()
		return
	}
	f.sends++
	b.mu.Unlock()

	time.AfterFunc(3*doubt, func() { b.resend(f, 3*doubt) })
	sent := time.Now()
	b.fresh(f, twins)

	b.mu.Lock()
	if !b.arrivedLocked(f, ops, twins, sent) || b.sweeping {
		b.mu.Unlock()
		return
	}
	b.sweeping = true
	patience := 2 * b.link.doubt()
	b.mu.Unlock()
	if node := b.node(ops[0].key); node != nil {
		sweep(node, patience)
	}
	b.mu.Lock()
	b.sweeping = false
	b.mu.Unlock()
}

// arrivedLocked ends one round trip of f, and reports whether it had an answer: sends
// are ops themselves, or their twins. Without an answer a command's callers go on
// waiting for the other round trips.
func (b *batcher) arrivedLocked(f *flight, ops, sends []*op, sent time.Time) (answered bool) {
	for i, s := range sends {
		s.sent = sent
		if s.answered() {
			answered = true
			b.unsent.answered = time.Now()
			b.finishLocked(ops[i], s)
		}
	}
	f.sends--
	if f.sends == 0 {
		for _, o := range f.ops {
			b.finishLocked(o, o)
		}
	}
	return answered
}

// finishLocked gives a command's caller the outcome that by has, unless it has one or
// has left.
func (b *batcher) finishLocked(o, by *op) {
	if o.over || o.unanswered != nil {
		return
	}
	if by != o {
		o.answer = by
	}
	o.over = true
	o.tell()
	b.leaveLocked(o.flight)
}

// resendTimer calls resend for one flight of a flusher after another.
type resendTimer struct {
	timer  *time.Timer
	flight *flight // written while the timer is stopped
	doubt  time.Duration
}

func (t *resendTimer) start(b *batcher, f *flight, doubt time.Duration) {
	t.flight, t.doubt = f, doubt
	if t.timer == nil {
		t.timer = time.AfterFunc(doubt, func() { b.resend(t.flight, t.doubt) })
	} else {
		t.timer.Reset(doubt)
	}
}

// stop reports whether the timer can be started again: it has not fired.
func (t *resendTimer) stop() bool { return t.timer.Stop() }
