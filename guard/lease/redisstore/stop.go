package redisstore

import (
	"context"
	"strconv"
	"time"

	"github.com/jobguard/jobguard/guard/lease"
)

var _ lease.Stopper = (*Store)(nil)

// listener is one call of Listen.
type listener struct{ heard func(lease.Stop) (told bool) }

// Listen implements [lease.Stopper]: the Store is subscribed to its inbox until end.
// heard is called on the goroutine that receives messages, one for the whole Store.
func (s *Store) Listen(heard func(lease.Stop) (told bool)) (end func()) {
	in, l := s.inbox, &listener{heard}
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.listeners == nil {
		in.listeners = make(map[*listener]struct{})
	}
	in.listeners[l] = struct{}{}
	in.subscribedLocked()
	return func() {
		in.mu.Lock()
		delete(in.listeners, l)
		in.mu.Unlock()
		in.end()
	}
}

// asked hands a message to stop to all listeners, and answers if one has told the run.
func (in *inbox) asked(m message) {
	in.mu.Lock()
	all := make([]*listener, 0, len(in.listeners))
	for l := range in.listeners {
		all = append(all, l)
	}
	in.mu.Unlock()
	told := false
	for _, l := range all {
		told = l.heard(m.stop) || told
	}
	if told && (m.stop.Kind == lease.Revoked || m.stop.Kind == lease.Broken) {
		in.answer(m)
	}
}

// answer takes an owner out of those that [Store.Revoke] and [Store.Break] wait for, on a goroutine that
// ends by itself, after answerTimeout at the latest. If it fails, the message comes again.
func (s *Store) answer(m message) {
	key, ok := s.userKey(m.lease)
	if !ok {
		return
	}
	select {
	case s.answers <- struct{}{}:
	default:
		return
	}
	go func() {
		defer func() { <-s.answers }()
		ctx, cancel := context.WithTimeout(context.Background(), answerTimeout)
		defer cancel()
		names := withMark(s.prefix, "stop", key)
		s.router.do(ctx, false, newOp(names.lease(), "zrem", names.all[1], m.stop.Owner))
	}()
}

const answerTimeout = 5 * time.Second

// Replace implements [lease.Stopper].
func (s *Store) Replace(ctx context.Context, r lease.ReplaceRequest) (lease.ReplaceReply, error) {
	names := withMark(s.prefix, "latest", r.Key)
	o := replaceScript.call(names, 3, []string{r.Owner, s.inboxes}, nil, strconv.FormatInt(r.Turn, 10))
	s.router.do(ctx, false, o)
	err := o.outcome()
	if err == nil {
		var turn int64
		if turn, err = o.Int64(); err == nil {
			return lease.ReplaceReply{Turn: turn, Superseded: turn == 0}, nil
		}
	}
	return lease.ReplaceReply{}, fault(ctx, "replace", err)
}
