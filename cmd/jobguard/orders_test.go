package main

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/lease"
	"github.com/jobguard/jobguard/guard/lease/quorum"
	"github.com/jobguard/jobguard/guard/lease/redisstore"
	"github.com/jobguard/jobguard/internal/redistest"
)

// A lease of a stopped process ends while it is asked; the next holder is no answer.
func TestRevokeSaysThatALeaseEndedWithoutAnAnswer(t *testing.T) {
	server := redistest.Start(t)
	client := server.Client(t)
	for _, format := range [][]string{nil, {"--json"}} {
		must(t, client.Set(t.Context(), "guard:k", lease.OwnerID("gone", 1, "web-1", ""), time.Second).Err())
		wait(t, client, "k")
		s := call(t, "", append(format, "revoke", "k", "--reason", "r", "--yes", "--redis", urlOf(server))...)
		s.want(t, exitNoAnswer, "the holder did not answer: web-1: its lease has ended")
		if strings.Contains(s.out, "told to stop") {
			t.Errorf("the holder was not told:\n%s", s.out)
		}
		if format == nil {
			s.want(t, exitNoAnswer, "k: not told, the lease ended without an answer: web-1; now ")
			must(t, client.FlushDB(t.Context()).Err())
			continue
		}
		var o orderJSON
		if must(t, json.Unmarshal([]byte(s.out), &o)); len(o.Told) != 0 || len(o.Silent) != 1 || o.Silent[0].Owner != "web-1" || o.Key != "k" {
			t.Errorf("%s", s.out)
		}
	}
}

// The next run is often of the same process, and innocent.
func TestOrdersTellTheNextRunFromTheOneThatWasMeant(t *testing.T) {
	meant, next := lease.HolderOf(lease.OwnerID("p", 1, "web-1", ""), time.Second), lease.HolderOf(lease.OwnerID("p", 2, "web-1", ""), time.Second)
	exclusive := func(h lease.Holder) redisstore.Inspection {
		return redisstore.Inspection{Mode: redisstore.ModeExclusive, Holders: []lease.Holder{h}, Holding: 1}
	}
	readers := exclusive(next)
	readers.Mode = redisstore.ModeShared
	split, agreed := &quorum.Nodes{Nodes: make([]quorum.Node, 3), Agree: 1}, &quorum.Nodes{Nodes: make([]quorum.Node, 3), Agree: 2}
	told := lease.Outcome{Told: []lease.Holder{meant}}
	for want, c := range map[string]struct {
		after sight
		done  lease.Outcome
	}{
		"now another run, p:2: exclusive web-1":   {sight{exclusive(next), nil}, told},
		"now exclusive web-1":                     {sight{exclusive(meant), nil}, told},
		"now another run, p:1: exclusive web-1":   {sight{exclusive(meant), agreed}, lease.Outcome{Silent: []lease.Holder{next}}},
		"now no majority of the nodes agrees":     {sight{exclusive(next), split}, told},
		"now shared web-1":                        {sight{readers, nil}, told},
		"now " + stateOf(redisstore.Inspection{}): {sight{redisstore.Inspection{}, nil}, told},
	} {
		var out strings.Builder
		command := &cobra.Command{}
		command.SetOut(&out)
		must(t, (&app{}).said(command, "k", "done", c.done, c.after))
		if out.String() != "k: done; "+want+"\n" {
			t.Errorf("said %q, want %q", out.String(), want)
		}
	}
}

// A script that says whom it means does not hit the next holder.
func TestOrdersReachTheNamedHolderOnly(t *testing.T) {
	server := redistest.Start(t)
	client := server.Client(t)
	next := lease.OwnerID("p", 2, "web-1", "")
	must(t, client.Set(t.Context(), "guard:k", next, time.Hour).Err())
	url := urlOf(server)
	for _, verb := range [][]string{{"break", "k"}, {"revoke", "k", "--reason", "r"}} {
		for _, yes := range []string{"--yes=true", "--yes=false"} {
			call(t, "yes\n", append(verb, yes, "--holder", "p:1", "--redis", url)...).want(t, exitOther, "the key has another holder: web-1")
		}
		call(t, "", append(verb, "--yes", "--holder", "p:2", "--prefix", "other:", "--redis", url)...).want(t, exitNobody, `nobody holds k under the prefix "other:"`)
		if got := client.Get(t.Context(), "guard:k").Val(); got != next {
			t.Fatalf("%q: %q holds the key", verb, got)
		}
	}
	call(t, "", "show", "k", "--redis", url).want(t, exitOK, "p:2")
	var k keyJSON
	must(t, json.Unmarshal([]byte(call(t, "", "show", "k", "--json", "--redis", url).out), &k))
	call(t, "yes\n", "break", "k", "--holder", k.Holders[0].ID, "--redis", url).want(t, exitOK, "Take the key from web-1?", "k: taken from web-1, without an answer; now free")

	// Of several holders the named one alone.
	redisstoreShared(t, server)
	must(t, json.Unmarshal([]byte(call(t, "", "show", "many", "--json", "--redis", url).out), &k))
	call(t, "yes\n", "break", "many", "--holder", k.Holders[0].ID, "--redis", url).want(t, exitOK, "Take the key from web-1?", "now shared web-1\n")
}

// On each server of a quorum the id has another form.
func TestOrdersToAQuorumReachTheNamedHolderOnly(t *testing.T) {
	var urls []string
	var stores []lease.Store
	servers := redistest.StartN(t, 3)
	for _, s := range servers {
		stores = append(stores, redisstore.New(s.Client(t), redisstore.Owner("web-1")))
		urls = append(urls, "--redis", urlOf(s))
	}
	store, err := quorum.New(stores...)
	must(t, err)
	result := hold(t, store, "k")
	everywhere(t, servers, "k")
	var n nodesJSON
	must(t, json.Unmarshal([]byte(call(t, "", append([]string{"show", "k", "--json"}, urls...)...).out), &n))
	id := n.Verdict.Holders[0].ID
	for holder, want := range map[string]int{"p:1": exitOther, id + "0": exitOther} {
		call(t, "", append([]string{"break", "k", "--yes", "--holder", holder}, urls...)...).want(t, want, "another holder")
	}
	if len(result) > 0 {
		t.Fatalf("it was told: %v", <-result)
	}
	call(t, "", append([]string{"revoke", "k", "--yes", "--reason", "r", "--holder", id}, urls...)...).want(t, exitOK, "told to stop: web-1; now ")
	if err := outcome(t, result); !errors.Is(err, guard.ErrRevoked) {
		t.Errorf("the holder got %v", err)
	}
	next := hold(t, store, "k")
	everywhere(t, servers, "k")
	must(t, json.Unmarshal([]byte(call(t, "", append([]string{"show", "k", "--json"}, urls...)...).out), &n))
	call(t, "", append([]string{"break", "k", "--yes", "--holder", n.Verdict.Holders[0].ID}, urls...)...).want(t, exitOK, "taken from web-1, without an answer; now free")
	if err := outcome(t, next); !errors.Is(err, guard.ErrLost) {
		t.Errorf("the holder got %v", err)
	}
}

// An empty list says where it was looked for, and is still none for programs.
func TestNothingToListIsSaidWithThePrefix(t *testing.T) {
	server := redistest.Start(t)
	must(t, server.Client(t).Set(t.Context(), "guard:k", lease.OwnerID("p", 1, "web-1", ""), time.Hour).Err())
	for want, args := range map[string][]string{
		`no key is held under the prefix "gaurd:"`:                    {"ls", "--prefix", "gaurd:"},
		`no key is held that matches "x*" under the prefix "guard:"`:  {"ls", "x*", "--json"},
		`no tick is kept that matches "x*" under the prefix "guard:"`: {"ticks", "x*"},
	} {
		s := call(t, "", append(args, "--redis", urlOf(server))...)
		if s.want(t, exitOK, want); s.out != "" {
			t.Errorf("%q on stdout", s.out)
		}
	}
	if s := call(t, "", "ls", "--redis", urlOf(server)); s.err != "" {
		t.Errorf("%q on stderr", s.err)
	}
}
