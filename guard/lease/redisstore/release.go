package redisstore

import (
	"context"
	"strconv"
	"strings"

	"github.com/jobguard/jobguard/guard/lease"
)

// Release implements [lease.Store]. If the caller repeats it after an error, Released
// may be false because the first attempt took effect.
func (s *Store) Release(ctx context.Context, r lease.ReleaseRequest) (lease.ReleaseReply, error) {
	defer s.inbox.released(r.Owner)
	reply, err := s.release(ctx, releasing{
		names:      s.names.of(s.prefix, r.Key),
		owner:      r.Owner,
		from:       r.Place,
		under:      r.Limit,
		keepClosed: millis(r.KeepClosed),
		fence:      r.Fence,
		lastFence:  r.LastFence,
	})
	if err != nil {
		return lease.ReleaseReply{}, fault(ctx, "release", err)
	}
	return reply, nil
}

// releasing is what a release tells the server.
type releasing struct {
	names            *names
	owner            string
	from             lease.Place
	under            lease.Limit
	text             string // of both, if only that is known
	keepClosed       int64  // ms
	fence, lastFence int64
}

func (r releasing) exclusive() bool { return r.limit() == lease.Exclusive }

func (r releasing) place() string {
	if r.text == "" {
		return placeText(r.from, r.under)
	}
	return r.text
}

func (r releasing) limit() lease.Limit {
	if r.text == "" {
		return r.under
	}
	var limit int
	if parts := strings.Split(r.text, ","); len(parts) >= 3 {
		limit, _ = strconv.Atoi(parts[2])
	}
	return lease.Limit(limit)
}

// marker is the value that keeps the key closed, "" to free it.
func (r releasing) marker() string {
	if r.keepClosed <= 0 {
		return ""
	}
	return lease.ClosedMarker(r.owner)
}

func (s *Store) release(ctx context.Context, r releasing) (lease.ReleaseReply, error) {
	if !r.exclusive() {
		return s.releaseBy(ctx, releaseLimitScript, r)
	}
	if r.keepClosed > 0 || r.fence != r.lastFence || s.contention.recent(r.names.slot) {
		return s.releaseBy(ctx, releaseScript, r)
	}
	o := releaseFreeScript.call(r.names, 2, []string{r.owner}, nil, "")
	defer o.free()
	s.router.do(ctx, false, o)
	reply, again, err := freed(o)
	if !again {
		return reply, err
	}
	reply, err = s.releaseBy(ctx, releaseScript, r)
	reply.Resent = reply.Resent || o.resent
	return reply, err
}

// freed is the outcome of release_free.lua. If the key is not free by that, nor lost for
// certain, again is true: release.lua has to be sent.
func freed(o *op) (reply lease.ReleaseReply, again bool, err error) {
	if err := o.outcome(); err != nil {
		return reply, moving(err), err
	}
	n, err := o.Int64()
	if err != nil {
		return reply, false, err
	}
	return lease.ReleaseReply{Released: n == 1, Resent: o.resent}, n != 1, nil
}

func (s *Store) releaseBy(ctx context.Context, script *script, r releasing) (lease.ReleaseReply, error) {
	numbers := [...]int64{r.fence, r.lastFence}
	o := script.call(r.names, 5, []string{r.owner, r.marker()}, numbers[:], s.argument(queueArgument{place: r.place(), keepClosed: r.keepClosed}))
	s.router.do(ctx, false, o)
	if err := o.outcome(); moving(err) && (r.exclusive() || r.keepClosed == 0) {
		reply, err := s.releaseMoving(ctx, r)
		reply.Resent = reply.Resent || o.resent
		return reply, err
	} else if err != nil {
		return lease.ReleaseReply{}, err
	}
	n, err := o.Int64()
	return lease.ReleaseReply{Released: n == 1, Resent: o.resent}, err
}
