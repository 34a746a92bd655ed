package main_test

import (
	"bytes"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jobguard/jobguard/internal/redistest"
)

func TestEmbeddedRedisKeepsThePromise(t *testing.T) {
	t.Parallel()
	start(t, inventory, nil).kept(100)
}

func TestRealRedisKeepsThePromiseAndIsLeftClean(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	client := server.Client(t)
	if err := client.Set(t.Context(), "another program's", "value", 0).Err(); err != nil {
		t.Fatal(err)
	}
	start(t, inventory, nil, "-redis", server.Addr()).kept(100)
	if keys := client.Keys(t.Context(), "*").Val(); len(keys) != 1 {
		t.Errorf("keys: %q, want only the one that was there before", keys)
	}
}

func TestPostgresKeepsThePromise(t *testing.T) {
	t.Parallel()
	args, clean := realServers(t)
	start(t, inventory, nil, args...).kept(100)
	clean()
}

func TestStallWithoutSignalsKeepsThePromise(t *testing.T) {
	t.Parallel()
	start(t, byProxy, nil).kept(100)
}

// The smallest sale there is: the stalled replica has looked at the last item.
func TestOneItemTwoBuyersTwoReplicas(t *testing.T) {
	t.Parallel()
	start(t, inventory, nil, "-items", "1", "-buyers", "2", "-replicas", "2").kept(1)
}

// Each alarm is heard once: with the guard, the fence or the stall taken away,
// the program must fail, and for the right reason.
func TestSabotageIsFoundOut(t *testing.T) {
	for sabotage, complaint := range map[string]string{
		"guard": "the guarded sale oversold",
		"fence": "the stalled replica's late write was not refused",
		"stall": "no lease was lost",
	} {
		t.Run(sabotage, func(t *testing.T) {
			t.Parallel()
			s := start(t, inventory, []string{"INVENTORY_SABOTAGE=" + sabotage}, "-items", "20", "-buyers", "60")
			if code := s.end(); code != 1 {
				t.Errorf("exit code %d", code)
			}
			if !strings.Contains(s.stderr.String(), complaint) {
				t.Errorf("%q is not among the complaints", complaint)
			}
			oversold := sabotage != "stall" // without the fence, the guard alone does not do
			if g := s.row("guarded"); g.oversold > 0 != oversold {
				t.Errorf("guarded: %+v", g)
			}
		})
	}
}

// A Redis that goes away for good ends the program, with its reason.
func TestRedisThatDiesEndsTheProgram(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	s := start(t, inventory, nil, "-redis", server.Addr())
	s.out.waitFor(t, "under guard.Do")
	server.Kill()
	if code := s.end(); code != 1 {
		t.Errorf("exit code %d", code)
	}
	if !strings.HasPrefix(s.stderr.String(), "inventory: ") {
		t.Error("no complaint")
	}
}

func TestWrongArgumentsAreRefused(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, complaint string
		code            int
		env, args       []string
	}{
		{"no server", "cannot reach Redis at 127.0.0.1:1: ", 1, nil, []string{"-redis", "127.0.0.1:1"}},
		{"no port", `-redis "localhost": must be host:port`, 2, nil, []string{"-redis", "localhost"}},
		{"no database", "cannot reach PostgreSQL: ", 1, nil, []string{"-db", "postgres://127.0.0.1:1/x"}},
		{"another database", "-db: must begin with postgres://", 2, nil, []string{"-db", "mysql://127.0.0.1/x"}},
		{"sabotage of SQLite", "works on SQLite only", 2, []string{"INVENTORY_SABOTAGE=fence"}, []string{"-db", "postgres://127.0.0.1/x"}},
		{"no items", "-items 0: must be 1 to 500", 2, nil, []string{"-items", "0"}},
		{"too few buyers", "-buyers 100: must be more than the 100 items", 2, nil, []string{"-buyers", "100"}},
		{"too many buyers", "-buyers 2001: must be at most 2000", 2, nil, []string{"-buyers", "2001"}},
		{"one replica", "-replicas 1: must be 2 to 8", 2, nil, []string{"-replicas", "1"}},
		{"idle replica", "-buyers 2: must be at least one for each", 2, nil, []string{"-items", "1", "-buyers", "2"}},
		{"buyers of a shop that serves", "-buyers: not with -serve", 2, nil, []string{"-serve", "-buyers", "450"}},
		{"sabotage of a shop that serves", "INVENTORY_SABOTAGE: not with -serve", 2, []string{"INVENTORY_SABOTAGE=guard"}, []string{"-serve"}},
		{"a page without -serve", "-listen: only with -serve", 2, nil, []string{"-listen", "127.0.0.1:0"}},
		{"nowhere to listen", `-listen "8080": must be host:port`, 2, nil, []string{"-serve", "-listen", "8080"}},
		{"no such port", `-listen "127.0.0.1:80800": must be host:port`, 2, nil, []string{"-serve", "-listen", "127.0.0.1:80800"}},
		{"a word", `unexpected argument "please"`, 2, nil, []string{"please"}},
		{"no number", `invalid value "x" for flag -items`, 2, nil, []string{"-items", "x"}},
		{"unknown sabotage", "must be guard, fence or stall", 2, []string{"INVENTORY_SABOTAGE=x"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := start(t, inventory, c.env, c.args...)
			if code := s.end(); code != c.code {
				t.Errorf("exit code %d, want %d", code, c.code)
			}
			if got := s.stderr.String(); !strings.HasPrefix(got, "inventory: "+c.complaint) && !strings.Contains(got, c.complaint) {
				t.Errorf("complaint: %q, want %q", got, c.complaint)
			}
		})
	}
}

// buffer is a bytes.Buffer that can be read while it is written.
type buffer struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) Reset() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.b.Reset()
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func (b *buffer) Len() int { return len(b.String()) }

func (b *buffer) waitFor(t *testing.T, text string) {
	t.Helper()
	for deadline := time.Now().Add(busyLimit); !strings.Contains(b.String(), text); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%q never came", text)
		}
	}
}
