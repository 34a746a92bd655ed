package asynqmw_test

import (
	"context"
	"errors"
	"testing"

	"github.com/hibiken/asynq"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/asynqmw"
)

func TestPayloadFieldTakesStringsAndIntegersAndNothingElse(t *testing.T) {
	t.Parallel()
	for payload, want := range map[string]string{
		`{"sku":"a:b","x":{}}`:          "sku:a%3Ab",
		`{"sku":42}`:                    "sku:42",
		`{"sku":"42"}`:                  "sku:42",
		`{"sku":-7}`:                    "sku:-7",
		`{"sku":123456789012345678901}`: "sku:123456789012345678901",
		`{"sku":"\u0061"}`:              "sku:a",
		`{"SKU":"a"}`:                   "",
		`{"sku":""}`:                    "",
		`{"sku":null}`:                  "",
		`{"sku":1.0}`:                   "",
		`{"sku":1e2}`:                   "",
		`{"sku":-0}`:                    "",
		`{"sku":["a"]}`:                 "",
		`{"sku":{"sku":"a"}}`:           "",
		`{"other":"a"}`:                 "",
		`["sku"]`:                       "",
		`null`:                          "",
		`{"sku":"a"`:                    "",
		``:                              "",
	} {
		key, err := asynqmw.PayloadField("sku")(t.Context(), asynq.NewTask("t", []byte(payload)))
		if key != want || errors.Is(err, guard.ErrInvalidKey) != (want == "") {
			t.Errorf("%s makes the key %q, %v; want %q", payload, key, err, want)
		}
	}
}

func TestTasksOfTwoQueuesWithOneIDAreNotBusyForEachOther(t *testing.T) {
	f := newFleet(t)
	cfg := quick()
	cfg.Queues = map[string]int{"a": 1, "b": 1}
	both := make(chan struct{})
	r := &runs{work: func(context.Context, *asynq.Task) error {
		<-both
		return nil
	}}
	defer close(both)
	f.run(t, cfg, f.guard(t), asynqmw.TaskID(), r, asynqmw.OnBusy(asynqmw.Skip))
	for _, queue := range []string{"a", "b"} {
		f.enqueue(t, "x", asynq.Queue(queue))
	}
	eventually(t, "both run", func() bool { return r.most.Load() == 2 })
}

func TestOutsideAServerTaskIDIsAnInvalidKey(t *testing.T) {
	t.Parallel()
	for _, helper := range []asynqmw.KeyFunc{asynqmw.TaskID(), asynqmw.Join(asynqmw.PayloadField("id"), asynqmw.TaskID())} {
		if key, err := helper(t.Context(), asynq.NewTask("t", []byte(`{"id":1}`))); key != "" || !errors.Is(err, guard.ErrInvalidKey) {
			t.Errorf("key %q, %v; want ErrInvalidKey", key, err)
		}
	}
}

func TestJoinMakesDifferentKeysOfDifferentParts(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, parts := range [][]string{{"a", "b"}, {"a:b"}, {"a", ":b"}, {"a:", "b"}, {"a%3Ab"}, {"ab"}} {
		funcs := make([]asynqmw.KeyFunc, len(parts))
		for i, part := range parts {
			funcs[i] = fixed(part)
		}
		key, err := asynqmw.Join(funcs...)(t.Context(), asynq.NewTask("t", nil))
		if err != nil || key == "" || seen[key] {
			t.Errorf("%q make the key %q, %v: seen before: %v", parts, key, err, seen[key])
		}
		seen[key] = true
	}
	if key, err := asynqmw.Join(fixed("a"), fixed(""))(t.Context(), asynq.NewTask("t", nil)); key != "" || err != nil {
		t.Errorf("an empty part makes the key %q, %v; want the empty one, which is refused", key, err)
	}
}

func TestMisuseSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	g := &guard.Guard{}
	for want, opt := range map[string]asynqmw.Option{
		"asynqmw: an Option is nil":                                       nil,
		"asynqmw: OnKeyError: the function is nil":                        asynqmw.OnKeyError(nil),
		"asynqmw: WithRedis: the RedisConnOpt is nil":                     asynqmw.WithRedis(nil),
		"asynqmw: WithRedis: a asynqmw_test.noConn makes no Redis client": asynqmw.WithRedis(noConn{}),
		"asynqmw: OnBusy 7 is none of Defer, Skip and Discard":            asynqmw.OnBusy(7),
	} {
		if mw, err := asynqmw.New(g, asynqmw.TaskID(), opt); mw != nil || err == nil || err.Error() != want {
			t.Errorf("New() = %v, %v; want %q", mw, err, want)
		}
	}
	if _, err := asynqmw.New(nil, asynqmw.TaskID()); err == nil || err.Error() != "asynqmw: nil Guard" {
		t.Errorf("without a guard: %v", err)
	}
	if _, err := asynqmw.New(g, nil); err == nil || err.Error() != "asynqmw: nil KeyFunc" {
		t.Errorf("without a KeyFunc: %v", err)
	}
	for want, misuse := range map[string]func(){
		"asynqmw: PayloadField: the name is empty":  func() { asynqmw.PayloadField("") },
		"asynqmw: Join: no KeyFunc":                 func() { asynqmw.Join() },
		"asynqmw: Join: a KeyFunc is nil":           func() { asynqmw.Join(nil) },
		"asynqmw: RunScheduler: an argument is nil": func() { _ = asynqmw.RunScheduler(t.Context(), g, "k", nil, asynqmw.Periodic(nil)) },
	} {
		func() {
			defer func() {
				if got := recover(); got != want {
					t.Errorf("panicked with %v, want %q", got, want)
				}
			}()
			misuse()
		}()
	}
}

type noConn struct{}

func (noConn) MakeRedisClient() any { return nil }

// A task whose own id only resembles that of a clone has a key of its own.
func TestTaskIDTakesNoTaskForACloneThatIsNone(t *testing.T) {
	f := newFleet(t)
	original := map[string]string{ // by id
		"x":                           "x",
		"a~busy-0123456789abz":        "a",
		"a~busy-x~busy-0123456789abc": "a~busy-x",
		"a~busy-":                     "",
		"a~busy-Ab34567890123":        "",
		"a~busy-0123456789ab":         "",
		"~busy-0123456789abc":         "",
	}
	r := &runs{work: func(ctx context.Context, task *asynq.Task) error {
		id, _ := asynq.GetTaskID(ctx)
		want := original[id]
		if want == "" {
			want = id
		}
		if key, err := asynqmw.TaskID()(ctx, task); key != guard.Key("task", "default", want) || err != nil {
			t.Errorf("%q has the key %q, %v; want that of %q", id, key, err, want)
		}
		return nil
	}}
	f.serve(t, quick(), r)
	for id := range original {
		f.enqueue(t, id)
	}
	r.await(t, int64(len(original)))
}
