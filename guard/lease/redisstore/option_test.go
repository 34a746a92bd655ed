package redisstore_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/jobguard/jobguard/guard/lease"
	"github.com/jobguard/jobguard/guard/lease/redisstore"
	"github.com/jobguard/jobguard/internal/redistest"
)

func TestMisusePanics(t *testing.T) {
	client := redis.NewClient(&redis.Options{})
	defer client.Close()
	ring := redis.NewRing(&redis.RingOptions{})
	defer ring.Close()
	for want, opts := range map[string][]redisstore.Option{
		"New: an Option is nil":   {nil},
		`Owner("a|b"): `:          {redisstore.Owner("a|b")},
		`Owner("a\n"): `:          {redisstore.Owner("a\n")},
		`Owner(""): `:             {redisstore.Owner("")},
		`Prefix("a{b"): `:         {redisstore.Prefix("a{b")},
		`Prefix("a{}b"): `:        {redisstore.Prefix("a{}b")},
		`Prefix("a}b{c}"): `:      {redisstore.Prefix("a}b{c}")},
		`Prefix("a\x1f"): `:       {redisstore.Prefix("a\x1f")},
		"ReplicaAck(0, 1s): need": {redisstore.ReplicaAck(0, time.Second)},
		"ReplicaAck(1, 0s): need": {redisstore.ReplicaAck(1, 0)},
	} {
		wantPanic(t, want, func() { redisstore.New(client, opts...) })
	}
	for want, client := range map[string]redis.UniversalClient{
		"New: the client is nil":          (*redis.Client)(nil),
		"New: the client is a redis.Ring": ring,
	} {
		wantPanic(t, want, func() { redisstore.New(client) })
	}
	wantPanic(t, "New: the client is nil", func() { redisstore.New(nil) })
}

func wantPanic(t *testing.T, want string, misuse func()) {
	t.Helper()
	defer func() {
		t.Helper()
		if got := fmt.Sprint(recover()); !strings.HasPrefix(got, "redisstore: "+want) {
			t.Errorf("panic: %v, want %s", got, want)
		}
	}()
	misuse()
}

func TestOwnerIDsAreUniqueAndReadable(t *testing.T) {
	client := redis.NewClient(&redis.Options{})
	defer client.Close()
	a, b := redisstore.New(client, redisstore.Owner("worker-7")), redisstore.New(client)
	one, two, other := a.NewOwner("tr|ac\ne"), a.NewOwner(""), b.NewOwner("")
	if one == two || lease.OwnerProcess(one) != lease.OwnerProcess(two) || lease.OwnerProcess(one) == lease.OwnerProcess(other) {
		t.Errorf("%q, %q, %q", one, two, other)
	}
	if lease.OwnerName(one) != "worker-7" || lease.Metadata(one) != "trace" {
		t.Errorf("%q", one)
	}
	if name := lease.OwnerName(other); !strings.Contains(name, ":") {
		t.Errorf("default name %q is not host:pid", name)
	}
}

func TestWithoutAPrefixTheLeaseIsAPlainLock(t *testing.T) {
	p := newProcess(t, redistest.Start(t).Client(t), redisstore.Prefix(""))
	p.client.SetNX(t.Context(), "orders", "another program", time.Minute)
	if r := p.refused("orders", p.NewOwner(""), 0); r.Holder != "another program" {
		t.Errorf("%+v", r)
	}
	owner := p.NewOwner("")
	p.granted("invoices", owner)
	if p.client.SetNX(t.Context(), "invoices", "another program", time.Minute).Val() || p.value("invoices") != owner {
		t.Errorf("the lease is %q", p.value("invoices"))
	}
	if left := p.client.PTTL(t.Context(), "invoices").Val(); left <= ttl/2 || left > ttl {
		t.Errorf("PTTL %v", left)
	}
}

// seen counts the commands that a hook sees.
type seen struct {
	hook
	n *atomic.Int32
}

func (s seen) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error { s.n.Add(1); return next(ctx, cmd) }
}

func (s seen) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error { s.n.Add(int32(len(cmds))); return next(ctx, cmds) } //nolint:gosec // few
}

func TestHooksOfTheClientAreCalledWithContextTimeoutEnabled(t *testing.T) {
	client := redistest.Start(t).Client(t, withDeadlines)
	must(t, client.Ping(t.Context()).Err()) // go-redis prepares a connection, through the hooks too
	hook := seen{n: new(atomic.Int32)}
	client.AddHook(hook)
	p := newProcess(t, client)
	owner := p.NewOwner("")
	p.granted("k", owner)
	before := hook.n.Load()
	if p.release("k", owner); before == 0 || hook.n.Load() == before {
		t.Errorf("the hook saw %d commands of an acquire, and %d of a release", before, hook.n.Load()-before)
	}
}
