package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/lease"
	"github.com/jobguard/jobguard/guard/lease/redisstore"
	"github.com/jobguard/jobguard/internal/redistest"
)

// Each verb writes JSON with --json, one value a line, whatever the keys are.
func TestAllVerbsWriteJSON(t *testing.T) {
	server := redistest.Start(t)
	client := server.Client(t)
	hold(t, redisstore.New(server.Client(t), redisstore.Owner("web-1")), "report")
	wait(t, client, "report")
	binary := "bin\xff\x00\n\u202e"
	must(t, client.Set(t.Context(), "guard:"+binary, "x\xff", 0).Err())
	store := redisstore.New(client, redisstore.Owner("web-1"))
	_, err := store.ClaimTick(deadline(t), lease.TickRequest{Key: "report", Owner: store.NewOwner(""), At: time.Now(), MaxAhead: -1})
	must(t, err)
	record := giveUp(t, server, "order-1")
	for _, args := range [][]string{
		{"ls"}, {"show", "report"}, {"show", binary}, {"show", "nothing"}, {"queue", "report"}, {"ticks"}, {"doctor"},
		{"journal", "ls"}, {"journal", "show", record.ID}, {"journal", "requeue", record.ID, "--yes"},
		{"revoke", "report", "--reason", "r", "--yes"}, {"break", binary, "--yes"},
	} {
		s := call(t, "", append(args, "--json", "--redis", urlOf(server))...)
		if s.code != exitOK || s.out == "" || s.err != "" {
			t.Errorf("%q: exit code %d\n%s%s", args, s.code, s.out, s.err)
		}
		for line := range strings.Lines(s.out) {
			var v map[string]any
			if err := json.Unmarshal([]byte(line), &v); err != nil {
				t.Errorf("%q writes %q: %v", args, line, err)
			}
		}
		if args[0] == "show" && args[1] == binary {
			var k keyJSON
			if must(t, json.Unmarshal([]byte(s.out), &k)); string(k.KeyBytes) != binary {
				t.Errorf("%+v", k)
			}
		}
		if args[0] == "show" && args[1] == "report" && !strings.Contains(s.out, `"last_tick":{"key":"report"`) {
			t.Errorf("no tick in %s", s.out)
		}
	}
	must(t, client.Set(t.Context(), "guard:"+binary, lease.OwnerID("p", 1, "web\u202e", ""), 0).Err())
	call(t, "", "ls", "--redis", urlOf(server)).want(t, exitOK, `"bin\xff\x00\n\u202e"`, `"web\u202e"`)
}

// answering is a terminal at which something happens before the answer.
type answering struct {
	first  func()
	answer io.Reader
}

func (a *answering) Read(p []byte) (int, error) {
	if a.first != nil {
		a.first()
		a.first = nil
	}
	return a.answer.Read(p)
}

// The answer is about the holder that the question named.
func TestAnOrderDoesNotHitTheNextHolder(t *testing.T) {
	server := redistest.Start(t)
	client := server.Client(t)
	for _, verb := range [][]string{{"break", "k"}, {"revoke", "k", "--reason", "r"}} {
		must(t, client.Set(t.Context(), "guard:k", lease.OwnerID("p", 1, "web-1", ""), time.Hour).Err())
		next := lease.OwnerID("p", 2, "web-1", "")
		terminal := &answering{func() { must(t, client.Set(t.Context(), "guard:k", next, time.Hour).Err()) }, strings.NewReader("yes\n")}
		var out bytes.Buffer
		code := run(t.Context(), append(verb, "--redis", urlOf(server)), terminal, &out, &out)
		if code != exitDeclined || !strings.Contains(out.String(), "another holder") {
			t.Errorf("%q: exit code %d\n%s", verb, code, out.String())
		}
		if got := client.Get(t.Context(), "guard:k").Val(); got != next {
			t.Errorf("%q: %q holds the key", verb, got)
		}
	}
	// Readers come and go; the order is for all.
	redisstoreShared(t, server)
	call(t, "yes\n", "break", "many", "--redis", urlOf(server)).want(t, exitOK, "Take the key from web-1, web-1", "now free")
}

// redisstoreShared has two readers hold "many".
func redisstoreShared(t *testing.T, server *redistest.Server) *redisstore.Store {
	t.Helper()
	store := redisstore.New(server.Client(t), redisstore.Owner("web-1"))
	for range 2 {
		r, err := store.Acquire(deadline(t), lease.AcquireRequest{Key: "many", Owner: store.NewOwner(""), TTL: time.Minute, TokenCount: 1, Limit: lease.Shared})
		if must(t, err); !r.Granted {
			t.Fatal("not granted")
		}
	}
	return store
}

func TestAnInterruptAtTheQuestionIsNo(t *testing.T) {
	server := redistest.Start(t)
	must(t, server.Client(t).Set(t.Context(), "guard:k", lease.OwnerID("p", 1, "web-1", ""), time.Hour).Err())
	stdin, typing := io.Pipe()
	defer func() { must(t, typing.Close()) }()
	ctx, interrupt := context.WithCancel(t.Context())
	var out output
	code := make(chan int, 1)
	go func() { code <- run(ctx, []string{"break", "k", "--redis", urlOf(server)}, stdin, &out, &out) }()
	out.await(t, "[yes/no]")
	interrupt()
	if c := outcome(t, code); c != exitDeclined {
		t.Errorf("exit code %d\n%s", c, out.String())
	}
	if server.Client(t).Exists(t.Context(), "guard:k").Val() == 0 {
		t.Error("the key was taken")
	}
}

// program is the command as a process.
func program(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], args...)
	cmd.Env = append(os.Environ(), asProgram+"=1")
	return cmd
}

// Ctrl-C ends watch, which is no failure; and a question, with nothing done.
func TestInterruptsEndTheProgram(t *testing.T) {
	server := redistest.Start(t)
	must(t, server.Client(t).Set(t.Context(), "guard:k", lease.OwnerID("p", 1, "web-1", ""), time.Hour).Err())
	for want, args := range map[int][]string{exitOK: {"watch"}, exitDeclined: {"break", "k"}} {
		cmd := program(t, append(args, "--redis", urlOf(server))...)
		var out output
		cmd.Stdout, cmd.Stderr = &out, &out
		stdin, err := cmd.StdinPipe()
		must(t, err)
		must(t, cmd.Start())
		out.await(t, "web-1")
		must(t, cmd.Process.Signal(os.Interrupt))
		_ = cmd.Wait()
		_ = stdin.Close()
		if got := cmd.ProcessState.ExitCode(); got != want {
			t.Errorf("%q: exit code %d, want %d\n%s", args, got, want, out.String())
		}
	}
}

// A pager that is left ends the program without a word; a disk that is full does not pass for
// success, nor for wrong usage.
func TestOutputThatCannotBeWritten(t *testing.T) {
	server := redistest.Start(t)
	client := server.Client(t)
	for i := range 3000 {
		must(t, client.Set(t.Context(), fmt.Sprint("guard:", strings.Repeat("k", 100), i), lease.OwnerID("p", 1, "web-1", ""), time.Hour).Err())
	}
	must(t, client.Set(t.Context(), "guard:k", lease.OwnerID("p", 1, "web-1", ""), time.Hour).Err())
	_, err := redisstore.New(client).ClaimTick(deadline(t), lease.TickRequest{Key: "k", Owner: "p:1|x|", At: time.Now(), MaxAhead: -1})
	must(t, err)
	for _, args := range [][]string{{"ls"}, {"ls", "--json"}} {
		cmd := program(t, append(args, "--redis", urlOf(server))...)
		var complaint bytes.Buffer
		cmd.Stderr = &complaint
		pipe, err := cmd.StdoutPipe()
		must(t, err)
		must(t, cmd.Start())
		must(t, pipe.Close())
		_ = cmd.Wait()
		if cmd.ProcessState.Success() || complaint.Len() > 0 {
			t.Errorf("%q into a broken pipe: %v\n%s", args, cmd.ProcessState, complaint.String())
		}
	}
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	must(t, err)
	defer func() { must(t, full.Close()) }()
	for _, args := range [][]string{{"ls"}, {"ls", "--json"}, {"show", "k"}, {"show", "k", "--json"}, {"ticks"}, {"doctor"}, {"watch"}, {"break", "k", "--yes"}} {
		var complaint bytes.Buffer
		code := run(t.Context(), append(args, "--redis", urlOf(server)), strings.NewReader(""), full, &complaint)
		if code != exitFailed || !strings.Contains(complaint.String(), "no space") {
			t.Errorf("%q on a full disk: exit code %d\n%s", args, code, complaint.String())
		}
	}
}

// watch with a key goes on over an outage, and takes no renewal for a change.
func TestWatchGoesOnOverAnOutageAndIsSilentAboutRenewals(t *testing.T) {
	server := redistest.Start(t)
	client := server.Client(t)
	store := redisstore.New(server.Client(t), redisstore.Owner("web-1"))
	owners := []string{store.NewOwner(""), store.NewOwner("")}
	for i, owner := range owners {
		r, err := store.Acquire(deadline(t), lease.AcquireRequest{Key: "many", Owner: owner, TTL: time.Minute + time.Duration(i)*time.Second, TokenCount: 1, Limit: lease.Shared})
		if must(t, err); !r.Granted {
			t.Fatal("not granted")
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var out, complaints output
	code := make(chan int, 1)
	go func() {
		code <- run(ctx, []string{"watch", "--interval", "10ms", "--redis", urlOf(server)}, strings.NewReader(""), &out, &complaints)
	}()
	out.await(t, "many  shared "+strings.Repeat("web-1 ", 2)[:11]+"\n")
	for i := range 20 { // the order by expiry turns each time
		r := store.Renew(deadline(t), []lease.RenewRequest{{Key: "many", Owner: owners[i%2], TTL: time.Minute + time.Duration(i+2)*time.Second, Limit: lease.Shared}})
		if must(t, r[0].Err); !r[0].Held {
			t.Fatal("not held")
		}
		time.Sleep(20 * time.Millisecond)
	}
	if n := strings.Count(out.String(), "many"); n != 1 {
		t.Errorf("%d lines about renewals:\n%s", n-1, out.String())
	}
	server.Kill()
	complaints.await(t, "asking again")
	server.Restart()
	must(t, client.Set(ctx, "guard:k", lease.OwnerID("p", 1, "web-1", ""), time.Hour).Err())
	out.await(t, "k  exclusive web-1\n")
	must(t, client.Set(ctx, "guard:k", lease.OwnerID("p", 2, "web-1", ""), time.Hour).Err()) // its next run
	for end := time.Now().Add(30 * time.Second); strings.Count(out.String(), "k  exclusive web-1\n") < 2; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("the next run of the same name is no change:\n%s", out.String())
		}
	}
	cancel()
	if c := outcome(t, code); c != exitOK {
		t.Errorf("exit code %d", c)
	}
	server.Kill()
	call(t, "", "watch", "--redis", urlOf(server)).want(t, exitFailed, "refused")
}

// A server that is down does not hide what is wrong with the others.
func TestDoctorExaminesAllServers(t *testing.T) {
	servers := redistest.StartN(t, 2)
	must(t, servers[1].Client(t).ConfigSet(t.Context(), "maxmemory-policy", "allkeys-lru").Err())
	servers[0].Kill()
	s := call(t, "", "doctor", "--redis", urlOf(servers[0]), "--redis", urlOf(servers[1]))
	s.want(t, exitFailed, urlOf(servers[0])+"  broken: unreachable", urlOf(servers[1])+"  risk: maxmemory-policy")
}

// A holder that does not answer is told when it can be reached again.
func TestAHolderThatIsCutOffDoesNotAnswer(t *testing.T) {
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server.Addr())
	result := hold(t, redisstore.New(clientOf(t, proxy.Addr()), redisstore.Owner("web-1")), "k", guard.TTL(time.Minute))
	revoke := func() said {
		return call(t, "", "revoke", "k", "--reason", "r", "--yes", "--redis", urlOf(server))
	}
	proxy.Blackhole(redistest.ToClient)
	revoke().want(t, exitNoAnswer, "web-1")
	proxy.Heal()
	for end := time.Now().Add(time.Minute); revoke().code != exitOK; {
		if time.Now().After(end) {
			t.Fatal("it does not answer after the cut")
		}
	}
	if err := outcome(t, result); !errors.Is(err, guard.ErrRevoked) {
		t.Errorf("the holder got %v", err)
	}
}

func clientOf(t *testing.T, addr string) *redis.Client {
	client := redis.NewClient(&redis.Options{Addr: addr})
	t.Cleanup(func() { _ = client.Close() })
	return client
}
