package redisstore

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"

	"github.com/redis/go-redis/v9"
)

// probes are the commands of a Store, its scripts' included, with arguments that change
// nothing: the key does not exist, or the server refuses the arguments after it has
// looked at the user's rights. cluster: only there.
func probes(n *names, inbox string, o options, cluster bool) [][]any {
	unknown := strings.Repeat("0", 40)
	lease, queue, holders, tokens, heard := n.all[0], n.all[1], n.all[2], n.all[3], n.all[4]
	tick := tickName(o.prefix, n.key).lease()
	all := [][]any{
		{"ping"}, {"time"},
		{"evalsha", unknown, 5, lease, queue, holders, tokens, heard}, {"eval", "return 1", 5, lease, queue, holders, tokens, heard},
		{"get", lease}, {"set", lease, "x", "px", 1, "xx"}, {"exists", lease, queue}, {"del", lease},
		{"type", lease}, {"pttl", lease}, {"pexpire", lease, 1}, {"expire", tick, 1},
		{"zadd", queue, "xx", 1, "x"}, {"zincrby", queue, "none", "x"}, {"zcard", holders}, {"zcount", holders, 0, 1},
		{"zscore", heard, "x"}, {"zrange", queue, 0, 0}, {"zrem", queue, "x"}, {"zpopmin", queue}, {"zremrangebyscore", holders, 0, 1},
		{"hmget", tick, "x"}, {"hset", tick, "x", "x", "odd"},
		{"publish", inbox, ""}, {"pubsub", "numsub", inbox},
	}
	if o.replicas > 0 {
		all = append(all, []any{"wait", 0, 1})
	}
	if cluster {
		all = append(all, []any{"cluster", "slots"}, []any{"command"})
	}
	return all
}

// probeNames are of a key that does not exist, and of an inbox that no process has. On a
// Cluster the key may be another node's: rights are looked at before that.
func (e *examination) probeNames() (*names, string) {
	id := "jobguard-check-" + rand.Text()
	return namesOf(e.prefix, id), e.prefix + "inbox:" + id
}

// commands sends the probes: it sees what the user may not, and what a proxy does not
// pass or the server has under another name.
func (e *examination) commands(ctx context.Context, n node) {
	at, inbox := e.probeNames()
	var forbidden, unknown []string
	var denials []string
	for _, probe := range probes(at, inbox, e.options, n.cluster) {
		err := n.client.Do(ctx, probe...).Err()
		switch {
		case err == nil, ctx.Err() != nil:
		case redis.HasErrorPrefix(err, "NOPERM"):
			forbidden = append(forbidden, probeName(probe))
			denials = append(denials, err.Error())
		case strings.Contains(strings.ToLower(err.Error()), "unknown command"), !isReply(err) && ctx.Err() == nil:
			unknown = append(unknown, probeName(probe))
		}
	}
	if err := e.wakeUps(ctx, n); err != nil {
		forbidden, denials = append(forbidden, "subscribe"), append(denials, err.Error())
	}
	if len(forbidden) > 0 {
		e.rights(n, forbidden, denials[0])
	}
	if len(unknown) > 0 {
		e.note("commands", Broken, n.says("or a proxy before it does not pass "+strings.Join(unknown, ", ")+": calls that need them fail"),
			"connect to Redis itself, let the proxy pass them, and drop rename-command from the server's configuration")
	}
}

func probeName(probe []any) string {
	name := fmt.Sprint(probe[0])
	if name == "pubsub" || name == "cluster" {
		name += fmt.Sprint("|", probe[1])
	}
	return name
}

// dryRun asks the server what the user may: the same, without effect in any case. It
// needs a right that a Store does not.
func (e *examination) dryRun(ctx context.Context, n node, missing *unchecked) {
	user, err := n.client.Do(ctx, "acl", "whoami").Text()
	if err != nil {
		missing.add(err, "acl|whoami", "the user's name")
		return
	}
	e.user = user
	at, inbox := e.probeNames()
	all := append(probes(at, inbox, e.options, n.cluster), []any{"subscribe", inbox})
	if n.cluster {
		all = append(all, []any{"asking"})
	}
	for _, s := range []*script{acquireScript, acquireLimitScript, renewFenceScript, releaseScript, releaseLimitScript} {
		all = append(all, []any{"evalsha", s.arg, 5, at.all[0], at.all[1], at.all[2], at.all[3], at.all[4]})
	}
	var forbidden []string
	var denial string
	for _, probe := range all {
		answer, err := n.client.Do(ctx, append([]any{"acl", "dryrun", user}, probe...)...).Text()
		if err != nil && redis.HasErrorPrefix(err, "NOPERM") {
			missing.add(err, "acl|dryrun", "the user's rights, other than by trying")
			return
		}
		// An error is a command that this server does not know; commands sees that.
		if err == nil && answer != "OK" && !slices.Contains(forbidden, probeName(probe)) {
			forbidden, denial = append(forbidden, probeName(probe)), answer
		}
	}
	if len(forbidden) > 0 {
		e.rights(n, forbidden, denial)
	}
}

// rights notes what the user may not, unless that is known.
func (e *examination) rights(n node, forbidden []string, denial string) {
	const name = "rights"
	for _, f := range e.findings {
		if f.Name == name && (n.name == "" || strings.HasPrefix(f.Why, n.name+" ")) {
			return
		}
	}
	severity := Broken
	if !slices.ContainsFunc(forbidden, func(f string) bool { return f != "publish" && f != "subscribe" && f != "pubsub|numsub" }) {
		severity = Risk // waiters poll
	}
	e.note(name, severity, n.says(fmt.Sprintf("does not let user %s use %s (%s): calls that need them fail; without publish and subscribe waiters poll", e.user, strings.Join(forbidden, ", "), denial)),
		fmt.Sprintf("ACL SETUSER %s ~%s* &%sinbox:* +%s", e.user, e.prefix, e.prefix, strings.Join(forbidden, " +")))
}
