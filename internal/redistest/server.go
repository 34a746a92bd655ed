package redistest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/jobguard/jobguard/internal/testserver"
)

// A Server is one redis-server process on a fixed port of 127.0.0.1. It can be
// paused, killed and started again.
type Server struct {
	t      testing.TB
	binary string
	dir    string
	port   *testserver.Port
	args   func(port int) []string

	mu   sync.Mutex // guards proc, serialises Kill, Restart, Pause and Resume
	proc *testserver.Process
}

// Start starts one server without persistence and waits until it answers. args
// are options of redis-server and come last, so they override the defaults:
//
//	redistest.Start(t, "--appendonly", "yes", "--maxmemory-policy", "noeviction")
//
// The server is killed when t and its subtests end.
func Start(t testing.TB, args ...string) *Server {
	t.Helper()
	dir := t.TempDir()
	return start(t, dir, func(port int) []string {
		return append([]string{
			"--port", strconv.Itoa(port),
			"--bind", "127.0.0.1",
			"--dir", dir,
			"--save", "",
			"--appendonly", "no",
			// Replicas attach at once, and leave no dump behind that a
			// restart would load.
			"--repl-diskless-sync-delay", "0",
			"--rdb-del-sync-files", "yes",
		}, args...)
	})
}

// StartN starts n servers that know nothing of each other.
func StartN(t testing.TB, n int, args ...string) []*Server {
	t.Helper()
	servers := make([]*Server, n)
	for i := range servers {
		servers[i] = Start(t, args...)
	}
	return servers
}

// start runs redis-server with the arguments that args gives for a port, trying
// another port when one turns out to be taken after all.
func start(t testing.TB, dir string, args func(port int) []string) *Server {
	t.Helper()
	binary, err := program()
	if err != nil {
		t.Fatalf("redistest: %v", err)
	}
	for range 10 {
		port, err := testserver.ReservePort()
		if err != nil {
			t.Fatalf("redistest: %v", err)
		}
		s := &Server{t: t, binary: binary, dir: dir, port: port, args: args}
		err = s.launch()
		if errors.Is(err, errPortTaken) {
			port.Release()
			continue
		}
		t.Cleanup(func() {
			s.Kill()
			port.Release()
		})
		if err != nil {
			t.Fatalf("redistest: %v", err)
		}
		return s
	}
	t.Fatal("redistest: ten ports in a row were taken between looking and using")
	return nil
}

var errPortTaken = errors.New("port is taken")

// launch starts the process and waits until it answers.
func (s *Server) launch() error {
	proc, err := testserver.Start(nil, s.dir, s.binary, s.args(s.port.Number)...)
	if err != nil {
		return err
	}
	s.proc = proc
	testserver.Poll(func() bool { return !proc.Running() || s.answers() })
	switch {
	case !proc.Running() && strings.Contains(proc.Output(), "Address already in use"):
		return errPortTaken
	case !proc.Running():
		return fmt.Errorf("redis-server exited at once; %s", proc.Output())
	case !s.answers():
		proc.Kill()
		return fmt.Errorf("redis-server did not answer within %v; %s", testserver.Patience, proc.Output())
	}
	return nil
}

// answers reports whether the server answers PING, and whether the process that
// answers is ours and not a stranger on the same port.
func (s *Server) answers() bool {
	pong, err := ask(s.Addr(), "PING")
	if err != nil || !strings.HasPrefix(pong, "+PONG") {
		return false
	}
	info, err := ask(s.Addr(), "INFO server")
	return err == nil && strings.Contains(info, fmt.Sprintf("\nprocess_id:%d\r\n", s.proc.Pid))
}

// ask sends one inline command on a connection of its own and returns the raw
// reply.
func ask(addr, command string) (string, error) {
	conn, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close() }() // the reply has been read
	if err := conn.SetDeadline(time.Now().Add(time.Second)); err != nil {
		return "", err
	}
	if _, err := conn.Write([]byte(command + "\r\n")); err != nil {
		return "", err
	}
	reply, err := newRESPReader(conn).reply()
	return string(reply), err
}

// Addr returns host:port. It stays the same over Kill and Restart.
func (s *Server) Addr() string { return s.port.Addr() }

// Port returns the port.
func (s *Server) Port() int { return s.port.Number }

// Pid returns the process id of the current run.
func (s *Server) Pid() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.proc.Pid
}

// Client returns a new client with go-redis' defaults, changed by opts. It is
// closed when t ends.
func (s *Server) Client(t testing.TB, opts ...func(*redis.Options)) *redis.Client {
	t.Helper()
	return clientOf(t, s.Addr(), opts...)
}

func clientOf(t testing.TB, addr string, opts ...func(*redis.Options)) *redis.Client {
	o := &redis.Options{Addr: addr}
	for _, opt := range opts {
		opt(o)
	}
	client := redis.NewClient(o)
	t.Cleanup(func() { _ = client.Close() }) // the test may have closed it itself
	return client
}

// Pause stops the process (SIGSTOP). Connections stay open and the kernel goes
// on accepting new ones, but nothing is executed: what is sent now waits in
// socket buffers and is executed after Resume.
func (s *Server) Pause() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := testserver.Suspend(s.proc.Process); err != nil {
		s.t.Errorf("redistest: pause %s: %v", s.Addr(), err)
	}
}

// Resume lets a paused process go on (SIGCONT).
func (s *Server) Resume() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := testserver.Resume(s.proc.Process); err != nil {
		s.t.Errorf("redistest: resume %s: %v", s.Addr(), err)
	}
}

// Kill ends the process (SIGKILL) and waits until it is gone. Killing a dead
// server does nothing.
func (s *Server) Kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.proc != nil {
		s.proc.Kill()
	}
}

// Restart starts the server again on the same port with the same arguments,
// killing it first if it runs, and waits until it answers. It is empty unless
// the arguments of Start ask for persistence.
func (s *Server) Restart() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.proc.Kill()
	var err error
	testserver.Poll(func() bool { // while a stranger sits on our port
		err = s.launch()
		return !errors.Is(err, errPortTaken)
	})
	if err != nil {
		s.t.Errorf("redistest: restart %s: %v", s.Addr(), err)
	}
}

// Log returns the last part of what the current run of the server printed.
func (s *Server) Log() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.proc.Output()
}

// do sends one command on a connection of its own: for the few commands with
// which this package sets servers up, where a pooled client's own set-up traffic
// and retries would be in the way.
func (s *Server) do(ctx context.Context, args ...any) *redis.Cmd {
	client := redis.NewClient(&redis.Options{
		Addr:          s.Addr(),
		PoolSize:      1,
		MaxRetries:    -1,
		DialerRetries: 1,
	})
	defer func() { _ = client.Close() }() // the reply has been read
	return client.Do(ctx, args...)
}

// must is do for commands that have to work.
func (s *Server) must(t testing.TB, args ...any) any {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), testserver.Patience)
	defer cancel()
	v, err := s.do(ctx, args...).Result()
	if err != nil {
		t.Fatalf("redistest: %v on %s: %v; %s", args, s.Addr(), err, s.Log())
	}
	return v
}

// info returns one field of INFO, or "".
func (s *Server) info(section, field string) string {
	text, err := ask(s.Addr(), "INFO "+section)
	if err != nil {
		return ""
	}
	return fieldOf(text, field)
}

// fieldOf finds "field:value" in the lines of an INFO text.
func fieldOf(text, field string) string {
	for line := range strings.Lines(text) {
		if v, ok := strings.CutPrefix(line, field+":"); ok {
			return strings.TrimSpace(v)
		}
	}
	return ""
}
