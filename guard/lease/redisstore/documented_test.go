package redisstore_test

import (
	"errors"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/jobguard/jobguard/guard/lease"
	"github.com/jobguard/jobguard/guard/lease/redisstore"
	"github.com/jobguard/jobguard/internal/redistest"
)

type kindOfKey struct {
	name, kind string
	kept       time.Duration // 0: for ever
	seen       int
}

// The table of docs/behaviour/redisstore.md: a key of each kind, its type and its time to live, and no other keys.
func TestKeysAreOfTheDocumentedKinds(t *testing.T) {
	p := newProcess(t, redistest.Start(t).Client(t))
	holder, waiter := p.NewOwner(""), p.NewOwner("")
	p.granted("k", holder)
	for ticket, n := int64(0), 0; n < 2; n++ { // of a waiter that asked again it is noted when
		r, err := p.Acquire(within(t, time.Second), lease.AcquireRequest{
			Key: "k", Owner: waiter, TTL: ttl, Join: true, Ticket: ticket, TokenCount: 1,
			Place: lease.Place{Reservation: reservation, Poll: 5 * time.Second},
		})
		must(t, err)
		ticket = r.Ticket
	}
	if r, err := p.acquire(lease.AcquireRequest{Key: "two", Owner: p.NewOwner(""), Limit: 2}); err != nil || !r.Granted {
		t.Fatalf("%+v, %v", r, err)
	}
	_, err := p.ClaimTick(t.Context(), lease.TickRequest{Key: "report", Owner: holder, At: time.Unix(1, 0), MaxAhead: time.Minute})
	must(t, err)
	_, err = p.Replace(t.Context(), lease.ReplaceRequest{Key: "k", Owner: waiter})
	must(t, err)
	if err := p.Revoke(within(t, time.Second), "k", ""); !errors.Is(err, redisstore.ErrNoAnswer) {
		t.Errorf("Revoke() = %v, and nobody listens", err)
	}

	kinds := []kindOfKey{
		{name: `^guard:k$`, kind: "string", kept: ttl},
		{name: `^guard:two$`, kind: "string", kept: ttl},
		{name: `^guard:w:\{\w+\}:k$`, kind: "zset", kept: time.Minute},
		{name: `^guard:heard:\{\w+\}:k$`, kind: "zset", kept: time.Minute},
		{name: `^guard:h:\{\w+\}:two$`, kind: "zset", kept: ttl},
		{name: `^guard:tokens:\{\w+\}$`, kind: "zset"},
		{name: `^guard:tick:\{\w+\}:report$`, kind: "hash", kept: 400 * 24 * time.Hour},
		{name: `^guard:latest:\{\w+\}:k$`, kind: "string", kept: time.Minute},
		{name: `^guard:stop:\{\w+\}:k$`, kind: "zset", kept: time.Minute},
	}
	for _, name := range p.client.Keys(t.Context(), "*").Val() {
		i := slices.IndexFunc(kinds, func(k kindOfKey) bool { return regexp.MustCompile(k.name).MatchString(name) })
		if i < 0 {
			t.Errorf("a key that is not documented: %q", name)
			continue
		}
		k := &kinds[i]
		k.seen++
		if kind := p.client.Type(t.Context(), name).Val(); kind != k.kind {
			t.Errorf("%s is a %s, want a %s", name, kind, k.kind)
		}
		left := p.client.PTTL(t.Context(), name).Val()
		if k.kept == 0 && left >= 0 || k.kept > 0 && (left <= k.kept-5*time.Second || left > k.kept+5*time.Second) {
			t.Errorf("%s is kept for %v, want %v", name, left, k.kept)
		}
	}
	for _, k := range kinds {
		if k.seen == 0 {
			t.Errorf("no key is like %s", k.name)
		}
	}
}
