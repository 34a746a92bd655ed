package redisstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// Severities of a [Finding].
const (
	Broken  = "broken"  // a promise does not hold, or no lease will be granted
	Risk    = "risk"    // a promise fails in an event that is likely in the long run
	Unknown = "unknown" // it could not be judged; nothing is known to be wrong
)

// Finding is one reason why a server is not fit for leases.
type Finding struct {
	Name     string // what was looked at, as in the table of docs/doctor.md
	Severity string // Broken, Risk or Unknown
	Why      string // what was found, and what it means for leases; no secrets
	Fix      string // the command or setting that mends it
}

// CheckOption configures [Check]. [Prefix] and [ReplicaAck] are two of them.
type CheckOption interface{ applyCheck(*checking) }

type checkOption func(*checking)

func (f checkOption) applyCheck(c *checking) { f(c) }

func (f option) applyCheck(c *checking) { f(&c.options) }

// ForTTL is the TTL of the leases, by which [Check] judges round trips and replicas;
// default 10 s, as guard.TTL. It must be positive.
func ForTTL(d time.Duration) CheckOption {
	return checkOption(func(c *checking) {
		if d <= 0 {
			panic(fmt.Sprintf("redisstore: ForTTL(%v): need a positive duration", d))
		}
		c.ttl = d
	})
}

type checking struct {
	options
	ttl time.Duration
}

// Check tells what is wrong with a server for leases, one [Finding] for each problem and
// server; none if it is fit. Of a Cluster it checks all masters. Findings are in order
// of severity. docs/doctor.md lists them.
//
// The client should be connected as the user of the Store. Check changes nothing on the
// server: it sends the commands of a Store with arguments that have no effect, on a key
// below the prefix that does not exist, and one message to an inbox channel that no
// process has. It takes about a hundred round trips of each server, at most some seconds.
//
// The user needs no other right than for a Store. What Check then cannot see is
// a Finding "unchecked" of severity [Unknown], whose Fix grants the rights to see it:
// info, config|get, acl|whoami, acl|dryrun, and on a Cluster cluster|info and cluster|nodes.
//
// The error is that no server answers, or that of ctx; findings may be incomplete then.
func Check(ctx context.Context, client redis.UniversalClient, opts ...CheckOption) ([]Finding, error) {
	c := checking{options: newOptions(nil), ttl: 10 * time.Second}
	for _, opt := range opts {
		if opt == nil {
			panic("redisstore: Check: a CheckOption is nil")
		}
		opt.applyCheck(&c)
	}
	nodes, err := nodesOf(ctx, client)
	if err != nil {
		return nil, fault(ctx, "check", err)
	}
	e := examination{checking: c, user: "jobguard"}
	answering, failed := e.ping(ctx, nodes)
	for _, n := range answering {
		e.examine(ctx, n)
	}
	if len(answering) > 1 {
		e.agreement(ctx, answering)
	}
	if len(answering) == 0 {
		return e.sorted(), fault(ctx, "check", failed)
	}
	if err := ctx.Err(); err != nil {
		return e.sorted(), fault(ctx, "check", err)
	}
	return e.sorted(), nil
}

// pingTime is how long a server may take to answer its first PING, for which it may have
// to be connected to; half of what is left of ctx at most.
const pingTime = 5 * time.Second

// ping returns the nodes that answer, and why others do not. All are asked at once.
func (e *examination) ping(ctx context.Context, nodes []node) (answering []node, failed error) {
	patience := pingTime
	if deadline, ok := ctx.Deadline(); ok {
		patience = min(patience, time.Until(deadline)/2)
	}
	short, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	errs := make([]error, len(nodes))
	var all sync.WaitGroup
	for i, n := range nodes {
		all.Go(func() { errs[i] = n.client.Ping(short).Err() })
	}
	all.Wait()
	for i, n := range nodes {
		switch err := errs[i]; {
		case err == nil, isReply(err):
			answering = append(answering, n)
		case ctx.Err() == nil:
			e.note("unreachable", Broken, n.says(fmt.Sprintf("does not answer (%v): nothing is granted or renewed there", err)),
				"start the server, or remove it from the Cluster")
		}
	}
	return answering, errors.Join(errs...)
}

// node is a server that takes writes.
type node struct {
	client  redis.UniversalClient
	name    string // "" if it is the only one
	cluster bool
}

// says begins a sentence about the node.
func (n node) says(what string) string {
	if n.name == "" {
		return "the server " + what
	}
	return n.name + " " + what
}

func nodesOf(ctx context.Context, client redis.UniversalClient) ([]node, error) {
	cluster, ok := client.(*redis.ClusterClient)
	if !ok {
		if single, ok := client.(*redis.Client); ok {
			client, _ = withDeadlines(single)
		}
		return []node{{client: client}}, nil
	}
	// It has the layout loaded, which may hang for as long as the client's ReadTimeout.
	type loaded struct {
		nodes []node
		err   error
	}
	done := make(chan loaded, 1)
	go func() {
		nodes, err := mastersOf(ctx, cluster)
		done <- loaded{nodes, err}
	}()
	select {
	case l := <-done:
		return l.nodes, l.err
	case <-ctx.Done():
		return nil, fmt.Errorf("loading the Cluster's layout: %w", ctx.Err())
	}
}

func mastersOf(ctx context.Context, cluster *redis.ClusterClient) ([]node, error) {
	var mu sync.Mutex
	var nodes []node
	err := cluster.ForEachMaster(ctx, func(_ context.Context, c *redis.Client) error {
		mu.Lock()
		defer mu.Unlock()
		obedient, _ := withDeadlines(c)
		nodes = append(nodes, node{client: obedient, name: c.Options().Addr, cluster: true})
		return nil
	})
	slices.SortFunc(nodes, func(a, b node) int { return compare(a.name, b.name) })
	return nodes, err
}

func compare(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// examination collects findings.
type examination struct {
	checking
	user     string // the server's name for us, once it is known
	findings []Finding
}

func (e *examination) note(name, severity, why, fix string) {
	e.findings = append(e.findings, Finding{Name: name, Severity: severity, Why: why, Fix: fix})
}

func (e *examination) sorted() []Finding {
	order := []string{Broken, Risk, Unknown}
	slices.SortStableFunc(e.findings, func(a, b Finding) int {
		return slices.Index(order, a.Severity) - slices.Index(order, b.Severity)
	})
	return e.findings
}

// examine looks at one server. What depends on a right that the user lacks is left out
// and counted as unchecked.
func (e *examination) examine(ctx context.Context, n node) {
	var missing unchecked
	f := read(ctx, n, &missing)
	if f.info["redis_mode"] == "sentinel" || f.info["server_mode"] == "sentinel" { // Redis; Valkey
		e.note("kind", Broken, n.says("is a Sentinel, which keeps no keys"), "connect with redis.NewFailoverClient and its address in SentinelAddrs")
		return
	}
	e.dryRun(ctx, n, &missing)
	e.commands(ctx, n)
	e.times(ctx, n)
	if f.info != nil {
		e.kind(n, f)
		e.memory(n, f)
		e.persistence(n, f)
		e.replication(ctx, n, f)
	}
	e.settings(n, f)
	e.slots(n, f)
	if len(missing) > 0 {
		e.unchecked(n, missing)
	}
}
