package redisstore

import "time"

// kind is what a command is for. Each has its share of every flight while others wait
// too, so that very many of one kind delay no other.
type kind int

const (
	other kind = iota // releases above all
	renewing
	acquiring
	kinds
)

// shares of a flight, in the order in which kinds take what others leave. A renewal
// comes first: a lease depends on it.
var shares = [kinds]struct {
	kind kind
	most int
}{{renewing, maxBatch / 2}, {acquiring, maxBatch / 4}, {other, maxBatch / 4}}

// unsent is the commands of a batcher that wait to be sent, in order of arrival within
// their kind. Guarded by batcher.mu.
type unsent struct {
	byKind [kinds][]*op
	n      int // given up ones included

	answered time.Time // when the node last answered anything
}

func (u *unsent) add(o *op) {
	u.byKind[o.kind] = append(u.byKind[o.kind], o)
	u.n++
}

// take removes the next batch of commands for which a caller still waits.
func (u *unsent) take() []*op {
	ops := make([]*op, 0, min(u.n, maxBatch))
	for _, share := range shares {
		ops = u.takeKind(share.kind, ops, share.most)
	}
	for _, share := range shares {
		ops = u.takeKind(share.kind, ops, maxBatch-len(ops))
	}
	return ops
}

// takeKind appends up to most commands of a kind to ops.
func (u *unsent) takeKind(k kind, ops []*op, most int) []*op {
	queue := u.byKind[k]
	for most > 0 && len(queue) > 0 {
		if o := queue[0]; o.unanswered == nil {
			ops = append(ops, o)
			most--
		}
		queue[0] = nil
		queue = queue[1:]
		u.n--
	}
	if len(queue) == 0 {
		queue = nil
	}
	u.byKind[k] = queue
	return ops
}

// due is when the wait of o, which is unsent, is over; zero if only its caller ends
// it. A patient one waits as long as the node answers others.
func (u *unsent) due(o *op) time.Time {
	switch {
	case o.attempt == nil:
		return time.Time{}
	case o.patience() == 0:
		return o.deadline
	default:
		return u.silentSince(o).Add(o.patience())
	}
}

// silentSince is when the time of o began, if it is patient: with the last answer of
// the node to any command. A node that is silent gets no more time by sending o to it.
func (u *unsent) silentSince(o *op) time.Time {
	if u.answered.After(o.submitted) {
		return u.answered
	}
	return o.submitted
}

// expire removes the commands whose wait is over, has end called for each, and
// returns when the next one's is; zero if there is none.
func (u *unsent) expire(now time.Time, end func(*op)) (next time.Time) {
	u.n = 0
	for k, queue := range u.byKind {
		kept := queue[:0]
		for _, o := range queue {
			due := u.due(o)
			switch {
			case o.unanswered != nil:
				continue
			case due.IsZero():
			case !due.After(now):
				end(o)
				continue
			default:
				next = earlier(next, due)
			}
			kept = append(kept, o)
		}
		clear(queue[len(kept):])
		u.byKind[k] = kept
		u.n += len(kept)
	}
	return next
}

// earlier is the earlier of two times that are not zero.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
