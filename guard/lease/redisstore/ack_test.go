package redisstore_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/jobguard/jobguard/guard/lease"
	"github.com/jobguard/jobguard/guard/lease/redisstore"
	"github.com/jobguard/jobguard/internal/redistest"
)

func TestReplicaAck(t *testing.T) {
	t.Parallel()
	primary := redistest.Start(t)
	replica := redistest.StartReplica(t, primary)
	// The timeout is long: a busy machine may delay the replica.
	p := newProcess(t, primary.Client(t), redisstore.ReplicaAck(1, 5*time.Second))
	owner, refused := p.NewOwner(""), p.NewOwner("")

	if r, err := p.Acquire(within(t, 10*time.Second), lease.AcquireRequest{Key: "k", Owner: owner, TTL: time.Minute, Place: lease.Place{Reservation: reservation}, TokenCount: 1}); err != nil || !r.Granted {
		t.Fatalf("acquire: %+v, %v", r, err)
	}
	if got := replica.Client(t).Get(t.Context(), "guard:k").Val(); got != owner {
		t.Errorf("acknowledged, but the replica has %q", got)
	}
	if r := p.renew("k", owner); !r.Held || r.Err != nil {
		t.Errorf("renew: %+v", r)
	}

	replica.Pause()
	defer replica.Resume()
	const patience = time.Second
	p = newProcess(t, primary.Client(t), redisstore.ReplicaAck(1, patience))
	const missing = "acknowledged by 0 of 1 replicas"
	began := time.Now()
	if _, err := p.try("other", refused, 0); err == nil || !strings.Contains(err.Error(), missing) || errors.Is(err, lease.ErrRefused) {
		t.Errorf("acquire: %v", err)
	}
	if took := time.Since(began); took < patience {
		t.Errorf("WAIT gave up after %v", took)
	}
	if r := p.renew("k", owner); r.Held || r.Err == nil || !strings.Contains(r.Err.Error(), missing) {
		t.Errorf("renew: %+v", r)
	}
	began = time.Now()
	p.release("other", refused) // a release waits for no replica
	if took := time.Since(began); took > patience*3/4 {
		t.Errorf("release took %v", took)
	}
}

func TestReplicaAckOutlastsTheReadTimeout(t *testing.T) {
	primary := redistest.Start(t)
	client := primary.Client(t, func(o *redis.Options) { o.ReadTimeout = 50 * time.Millisecond })
	p := newProcess(t, client, redisstore.ReplicaAck(1, 200*time.Millisecond))
	_, err := p.try("k", p.NewOwner(""), 0)
	if err == nil || !strings.Contains(err.Error(), "acknowledged by 0 of 1 replicas") {
		t.Error(err)
	}
}
