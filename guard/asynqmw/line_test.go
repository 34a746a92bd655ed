package asynqmw

import (
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/jobguard/jobguard/internal/redistest"
)

// Steps that a test with servers meets by chance only: tasks a, b and so on, of which
// each comes, leaves, or ends its run.
func TestLineMissesNoFreeKeyAndKeepsPlaces(t *testing.T) {
	t.Parallel()
	client := redistest.Start(t).Client(t)
	l := &line{redis: client}
	task := func(id string) *attempt { return &attempt{id: id, name: id, queue: "q", key: "k"} }
	state := func(id, state string) {
		if state == "retry" { // before the state, as asynq does both at once
			client.ZAdd(t.Context(), "asynq:{q}:retry", redis.Z{Score: 1, Member: id})
		}
		client.HSet(t.Context(), "asynq:{q}:t:"+id, "state", state)
	}
	arrives := func(a *attempt, want verdict) {
		t.Helper()
		if state(a.id, "active"); l.arrive(t.Context(), a) != want {
			t.Fatalf("%s: want the verdict %d", a.id, want)
		}
	}
	leaves := func(a *attempt, rank int64) {
		t.Helper()
		if again := l.leave(t.Context(), a); a.rank != rank || again != (rank < 0) {
			t.Fatalf("%s left: rank %d, again %v, want %d", a.id, a.rank, again, rank)
		}
	}
	pending := func(want string) {
		t.Helper()
		if got, _ := client.RPop(t.Context(), "asynq:{q}:pending").Result(); got != want {
			t.Fatalf("%q was called, want %q", got, want)
		}
	}
	a, b, c, d := task("a"), task("b"), task("c"), task("d")

	arrives(a, first)
	arrives(b, putOff)
	leaves(a, 0) // the key was not free: a goes before b
	state("b", "retry")
	arrives(c, putOff)
	state("c", "retry")
	arrives(a, back)
	l.call(t.Context(), task("holder"), true) // a is trying: it is told
	leaves(a, -1)
	leaves(a, 0)
	l.call(t.Context(), task("holder"), false) // nobody goes before a, which is on its way
	pending("")
	state("a", "retry")
	l.call(t.Context(), task("holder"), true)
	pending("a")
	arrives(a, called)

	l.call(t.Context(), a, false) // its run begins: the next is called
	pending("b")
	arrives(b, called)
	leaves(b, 0)
	over := make(chan struct{})
	go func() { // ends with the call
		defer close(over)
		l.call(t.Context(), a, true) // its run ends while b is on its way: it waits for b
	}()
	state("b", "retry")
	<-over
	pending("b")
	arrives(b, called)

	client.Del(t.Context(), "asynq:{q}:t:c") // an operator's
	arrives(d, putOff)
	state("d", "retry")
	l.call(t.Context(), b, true)
	pending("d")
	if left := client.ZCard(t.Context(), "asynq:{q}:jobguard:line:k").Val(); left != 1 {
		t.Errorf("%d tasks are in line, want d alone", left)
	}
}
