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
		`{"sku":true}`:                  "",
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

func TestKeysOfTaskIDTypeAndQueue(t *testing.T) {
	f := newFleet(t)
	helpers := []asynqmw.KeyFunc{asynqmw.TaskID(), asynqmw.TaskType(), asynqmw.Queue(),
		asynqmw.Join(asynqmw.TaskType(), asynqmw.Queue())}
	want := []string{"task:default:x", "type:t", "queue:default", guard.Key("type:t", "queue:default")}
	r := &runs{work: func(ctx context.Context, task *asynq.Task) error {
		for i, helper := range helpers {
			if key, err := helper(ctx, task); key != want[i] || err != nil {
				t.Errorf("key %q, %v; want %q", key, err, want[i])
			}
		}
		return nil
	}}
	f.serve(t, quick(), r)
	f.enqueue(t, "x")
	r.await(t, 1)
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
	f.serve(t, asynqmw.Configure(cfg), asynqmw.New(f.guard(t), asynqmw.TaskID(), asynqmw.OnBusy(asynqmw.Skip))(r))
	for _, queue := range []string{"a", "b"} {
		if _, err := f.client.Enqueue(asynq.NewTask("t", nil), asynq.TaskID("x"), asynq.Queue(queue)); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "both run", func() bool { return r.most.Load() == 2 })
}

func TestOutsideAServerTaskIDAndQueueAreInvalidKeys(t *testing.T) {
	t.Parallel()
	for _, helper := range []asynqmw.KeyFunc{asynqmw.TaskID(), asynqmw.Queue(), asynqmw.Join(asynqmw.TaskType(), asynqmw.Queue())} {
		if key, err := helper(t.Context(), asynq.NewTask("t", nil)); key != "" || !errors.Is(err, guard.ErrInvalidKey) {
			t.Errorf("key %q, %v; want ErrInvalidKey", key, err)
		}
	}
}

func TestJoinMakesDifferentKeysOfDifferentParts(t *testing.T) {
	t.Parallel()
	fixed := func(key string) asynqmw.KeyFunc {
		return func(context.Context, *asynq.Task) (string, error) { return key, nil }
	}
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

func TestMisusePanicsWithWhatIsWrong(t *testing.T) {
	t.Parallel()
	g := &guard.Guard{}
	with := func(o asynqmw.Option) func() { return func() { asynqmw.New(g, asynqmw.TaskID(), o) } }
	for want, misuse := range map[string]func(){
		"asynqmw: nil Guard":                                   func() { asynqmw.New(nil, asynqmw.TaskID()) },
		"asynqmw: nil KeyFunc":                                 func() { asynqmw.New(g, nil) },
		"asynqmw: an Option is nil":                            with(nil),
		"asynqmw: WithClient: the Client is nil":               with(asynqmw.WithClient(nil)),
		"asynqmw: WithInspector: the Inspector is nil":         with(asynqmw.WithInspector(nil)),
		"asynqmw: DeferFor 0s is not more than 0s":             with(asynqmw.DeferFor(0)),
		"asynqmw: OnBusy 7 is none of Defer, Skip and Discard": with(asynqmw.OnBusy(7)),
		"asynqmw: PayloadField: the name is empty":             func() { asynqmw.PayloadField("") },
		"asynqmw: Join: no KeyFunc":                            func() { asynqmw.Join() },
		"asynqmw: Join: a KeyFunc is nil":                      func() { asynqmw.Join(nil) },
		"asynqmw: RunScheduler: nil function":                  func() { _ = asynqmw.RunScheduler(t.Context(), g, "k", nil) },
		"asynqmw: RunPeriodicTaskManager: nil function":        func() { _ = asynqmw.RunPeriodicTaskManager(t.Context(), g, "k", nil) },
		"asynqmw: RunScheduler: nil Guard": func() {
			_ = asynqmw.RunScheduler(t.Context(), nil, "k", func() *asynq.Scheduler { return nil })
		},
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

// A task whose own id only resembles that of a clone has a key of its own.
func TestTaskIDTakesNoTaskForACloneThatIsNone(t *testing.T) {
	f := newFleet(t)
	original := map[string]string{ // by id
		"a~busy1-0z9":            "a",
		"a~busy12-0z9":           "a",
		"a~busy1-x~busy2-0z9":    "a~busy1-x",
		"a~busy1":                "",
		"a~busy1-":               "",
		"a~busy1-Ab c":           "",
		"a~busy1-a-b":            "",
		"a~busy1-zzzzzzzzzzzzzz": "", // more than 64 bits
		"a~busy0-0z9":            "",
		"a~busy-0z9":             "",
		"a~busyx-0z9":            "",
		"~busy1-0z9":             "",
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
