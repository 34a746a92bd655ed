package redisstore_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/jobguard/jobguard/guard/lease"
	"github.com/jobguard/jobguard/internal/redistest"
)

// renewAll renews a lease on each key for ttl in one call, by owners.
func (p *process) renewAll(keys, owners []string, ttl time.Duration) []lease.RenewReply {
	rs := make([]lease.RenewRequest, len(keys))
	for i := range rs {
		rs[i] = lease.RenewRequest{Key: keys[i], Owner: owners[i], TTL: ttl}
	}
	return p.Renew(within(p.t, 5*time.Second), rs)
}

// grantedAll acquires keys, and returns the owners.
func (p *process) grantedAll(keys []string) (owners []string) {
	for _, key := range keys {
		owners = append(owners, p.NewOwner(""))
		p.granted(key, owners[len(owners)-1])
	}
	return owners
}

func TestRenewOfManyLeasesOnOneServerIsAFewScripts(t *testing.T) {
	server := redistest.Start(t)
	p := newProcess(t, server.Client(t))
	var keys []string
	for i := range 100 {
		keys = append(keys, fmt.Sprint("k", i))
	}
	owners := p.grantedAll(keys)
	p.client.Set(t.Context(), "guard:k3", "another", time.Minute)
	p.client.Del(t.Context(), "guard:k50", "guard:k99")
	p.client.HSet(t.Context(), "guard:k99", "field", "value")

	undisturbed(t, func() (wrong string) {
		must(t, p.client.ConfigResetStat(t.Context()).Err())
		replies := p.renewAll(keys, owners, time.Hour)
		stats := p.client.InfoMap(t.Context(), "commandstats").Val()["Commandstats"]["cmdstat_evalsha"]
		for i, reply := range replies {
			left := p.client.PTTL(t.Context(), "guard:"+keys[i]).Val()
			want := lease.RenewReply{Held: true, Sent: reply.Sent}
			switch i {
			case 3:
				want = lease.RenewReply{Holder: "another", Sent: reply.Sent}
			case 50:
				want = lease.RenewReply{Sent: reply.Sent}
			case 99:
				want = lease.RenewReply{Holder: "a hash of another program", Sent: reply.Sent}
			}
			if reply != want || reply.Sent.IsZero() || want.Held != (left > 59*time.Minute) {
				t.Errorf("number %d: Renew() = %+v, lease for %v; want %+v", i, reply, left, want)
			}
		}
		if !strings.HasPrefix(stats, "calls=10,") {
			return fmt.Sprintf("100 renewals were these scripts: %s; want 7, and one for each that is not held", stats)
		}
		return ""
	})
}

func TestRenewOfManyLeasesHoldsWhereAScriptMayHaveKeysOfOneSlotOnly(t *testing.T) {
	cluster := redistest.StartCluster(t)
	node := cluster.Nodes()[0]
	client := node.Client(t) // which is not told that there are others
	var keys []string
	for i := range 40 {
		keys = append(keys, strings.TrimPrefix(cluster.KeyOn(t, node, fmt.Sprintf("guard:k%d-", i)), "guard:"))
	}
	owners := newProcess(t, client).grantedAll(keys)
	undisturbed(t, func() (wrong string) {
		p := newProcess(t, client)
		must(t, client.ConfigResetStat(t.Context()).Err())
		p.renewAllTwice(keys, owners)
		if stats := client.InfoMap(t.Context(), "errorstats").Val()["Errorstats"]["errorstat_CROSSSLOT"]; stats != "count=3" {
			return fmt.Sprintf("scripts refused for their slots: %q, want those of the first call only", stats)
		}
		return ""
	})
}

func (p *process) renewAllTwice(keys, owners []string) {
	p.t.Helper()
	for range 2 {
		for i, reply := range p.renewAll(keys, owners, time.Hour) {
			if !reply.Held || reply.Err != nil {
				p.t.Errorf("number %d: Renew() = %+v, want held", i, reply)
			}
		}
	}
}

// byFirstKey is a proxy for several servers: a script finds only its first key.
type byFirstKey struct{ hook }

func (byFirstKey) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		for _, cmd := range cmds {
			if args := cmd.Args(); args[0] == "evalsha" {
				for i := range args[2].(int) - 1 {
					args[4+i] = "elsewhere"
				}
			}
		}
		return next(ctx, cmds)
	}
}

// hook does nothing.
type hook struct{}

func (hook) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (hook) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }
func (hook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func withDeadlines(o *redis.Options) { o.ContextTimeoutEnabled = true } // with it hooks are called

func TestRenewOfManyLeasesHoldsBehindAProxyThatLooksAtTheFirstKeyOnly(t *testing.T) {
	server := redistest.Start(t)
	var keys []string
	for i := range 40 {
		keys = append(keys, fmt.Sprint("k", i))
	}
	owners := newProcess(t, server.Client(t)).grantedAll(keys)
	client := server.Client(t, withDeadlines)
	client.AddHook(byFirstKey{})
	undisturbed(t, func() (wrong string) {
		p := newProcess(t, client)
		must(t, client.ConfigResetStat(t.Context()).Err())
		p.renewAllTwice(keys, owners)
		stats := client.InfoMap(t.Context(), "commandstats").Val()["Commandstats"]["cmdstat_evalsha"]
		if !strings.Contains(stats, fmt.Sprintf("calls=%d,", 3+37+40)) {
			return fmt.Sprintf("renewals were these scripts: %s; want 3, 37 for the keys that were not found, and 40", stats)
		}
		return ""
	})
}

func TestRenewOfManyLeasesWithoutPermissionIsRefusedForEach(t *testing.T) {
	server := redistest.Start(t)
	keys := []string{"a", "b", "c"}
	owners := newProcess(t, server.Client(t)).grantedAll(keys)
	must(t, server.Client(t).Do(t.Context(), "acl", "setuser", "app", "on", "nopass", "~*", "&*", "+@all", "-get").Err())
	p := newProcess(t, server.Client(t, func(o *redis.Options) { o.Username = "app"; o.Password = "x" }))
	for i, reply := range p.renewAll(keys, owners, time.Hour) {
		if reply.Held || !errors.Is(reply.Err, lease.ErrRefused) {
			t.Errorf("number %d: Renew() = %+v, want refused", i, reply)
		}
	}
}
