package redisstore_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/jobguard/jobguard/guard/lease"
	"github.com/jobguard/jobguard/guard/lease/redisstore"
)

func TestMisusePanics(t *testing.T) {
	client := redis.NewClient(&redis.Options{})
	defer client.Close()
	ring := redis.NewRing(&redis.RingOptions{})
	defer ring.Close()
	for name, misuse := range map[string]func(){
		"nil":           func() { redisstore.New(nil) },
		"nil pointer":   func() { redisstore.New((*redis.Client)(nil)) },
		"ring":          func() { redisstore.New(ring) },
		"nil option":    func() { redisstore.New(client, nil) },
		"owner |":       func() { redisstore.Owner("a|b") },
		"owner control": func() { redisstore.Owner("a\n") },
		"owner empty":   func() { redisstore.Owner("") },
		"open brace":    func() { redisstore.Prefix("a{b") },
		"empty tag":     func() { redisstore.Prefix("a{}b") },
		"close first":   func() { redisstore.Prefix("a}b{c}") },
		"prefix ctrl":   func() { redisstore.Prefix("a\x1f") },
		"no replicas":   func() { redisstore.ReplicaAck(0, time.Second) },
		"no timeout":    func() { redisstore.ReplicaAck(1, 0) },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if got := fmt.Sprint(recover()); !strings.HasPrefix(got, "redisstore: ") {
					t.Errorf("panic: %v", got)
				}
			}()
			misuse()
		})
	}
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
