package main

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

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
		<-over
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
	if s := ask("", "ls"); s.out != "" {
		t.Errorf("records are left:\n%s", s.out)
	}
	ask("", "ls", "--shards", "0").want(t, exitUsage, "Shards")
}
