package main

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/journal"
	"github.com/jobguard/jobguard/guard/journal/redislog"
	"github.com/jobguard/jobguard/guard/lease/redisstore"
	"github.com/jobguard/jobguard/internal/redistest"
)

// giveUp leaves a dead record of a run under key.
func giveUp(t *testing.T, server *redistest.Server, key string) journal.Record {
	t.Helper()
	g, err := guard.New(redisstore.New(server.Client(t)))
	must(t, err)
	dead := make(chan journal.Record, 1)
	j, err := journal.New(g, redislog.New(server.Client(t)), journal.MaxAttempts(1), journal.OnDead(func(r journal.Record) { dead <- r }))
	must(t, err)
	j.Handle("refund", func(context.Context, journal.Record) error { return errors.New("no such account") })
	ctx, cancel := context.WithCancel(t.Context())
	over := make(chan error, 1)
	go func() { over <- j.Run(ctx) }()
	defer func() {
		cancel()
		_ = outcome(t, over) // it says that its context has ended
		must(t, g.Shutdown(context.Background()))
	}()
	err = j.Do(t.Context(), key, journal.Op{Kind: "refund", Payload: []byte("amount=3")}, func(context.Context) error { return errors.New("half done") })
	if err == nil {
		t.Fatal("the run did not fail")
	}
	select {
	case r := <-dead:
		return r
	case <-time.After(30 * time.Second):
		t.Fatal("the record did not die")
	}
	return journal.Record{}
}

func TestDeadRecordsAreListedAndDecided(t *testing.T) {
	server := redistest.Start(t)
	first, second := giveUp(t, server, "order-1"), giveUp(t, server, "order-2")
	url := []string{"--redis", urlOf(server)}
	ask := func(stdin string, args ...string) said {
		return call(t, stdin, append(append([]string{"journal"}, args...), url...)...)
	}

	ask("", "ls").want(t, exitOK, "ID", first.ID, "refund", "order-1", second.ID, "no such account")
	ask("", "show", first.ID).want(t, exitOK, "refund of order-1", `payload     "amount=3"`, "no such account")
	var r recordJSON
	must(t, json.Unmarshal([]byte(ask("", "show", first.ID, "--json").out), &r))
	if r.Key != "order-1" || string(r.Payload) != "amount=3" {
		t.Errorf("%+v", r)
	}
	ask("", "show", "nothing").want(t, exitFailed, "nothing")
	ask("no\n", "drop", first.ID).want(t, exitDeclined, "Drop: refund of order-1")
	ask("yes\n", "drop", first.ID).want(t, exitOK, "done")
	ask("", "drop", "--yes", first.ID).want(t, exitFailed, first.ID)
	ask("", "requeue", "--yes", second.ID).want(t, exitOK, "done")
	if s := ask("", "ls"); s.out != "" || s.code != exitOK || !strings.Contains(s.err, `the journal under the prefix "journal:" has no dead record, and 1 open`) {
		t.Errorf("records are left:\n%s%s", s.out, s.err)
	}
	ask("", "ls", "--shards", "0").want(t, exitUsage, "Shards")
}

// A journal that is elsewhere is no journal without dead records.
func TestJournalLsTellsAnEmptyJournalFromNone(t *testing.T) {
	cluster := redistest.StartCluster(t)
	server := redistest.Start(t)
	for url, client := range map[string]redis.UniversalClient{
		"redis+cluster://" + cluster.Addrs()[0]: cluster.Client(t), urlOf(server): server.Client(t),
	} {
		ls := func(args ...string) said {
			return call(t, "", append(args, "journal", "ls", "--redis", url)...)
		}
		for _, format := range [][]string{nil, {"--json"}} {
			s := ls(format...)
			if s.want(t, exitOK, `no journal is in Redis under the prefix "journal:" of `+url, "sqllog"); s.out != "" {
				t.Errorf("%q on stdout", s.out)
			}
		}
		must(t, client.Set(t.Context(), "journals", "x", 0).Err())
		ls("--journal-prefix", "jou*").want(t, exitOK, "no journal is in Redis")
		g, err := guard.New(redisstore.New(client))
		must(t, err)
		j, err := journal.New(g, redislog.New(client))
		must(t, err)
		must(t, j.Do(t.Context(), "order", journal.Op{Kind: "refund"}, func(context.Context) error {
			ls().want(t, exitOK, "has no dead record, and 1 open")
			return nil
		}))
		if s := ls(); s.out != "" {
			t.Errorf("%q on stdout", s.out)
		} else {
			s.want(t, exitOK, "has no dead record, and 0 open")
		}
		must(t, g.Shutdown(context.Background()))
	}
}
