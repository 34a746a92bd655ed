package sqltest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/jobguard/jobguard/internal/testserver"
)

// A Database is an empty one on a server.
type Database struct {
	Host string // 127.0.0.1
	Port int
	User string // may do everything, without a password
	Name string

	// DSN is how drivers take it: a URL for PostgreSQL's, user@tcp(host:port)/name for
	// MySQL's. Both can be given parameters after a '?', which DSN does not have.
	DSN string
}

// Addr returns host:port.
func (d Database) Addr() string { return net.JoinHostPort(d.Host, strconv.Itoa(d.Port)) }

// A kind is a product.
type kind struct {
	name    string
	install string // the line that does
	users   []string
	init    func(s *server) error // fills s.dir
	args    func(s *server) (binary string, args []string, err error)
	taken   string // is in the log if the port was taken
	ask     func(ctx context.Context, s *server, statement string) error
	create  string         // statements that make the database %s
	quit    syscall.Signal // ends it at once and leaves nothing behind
	dsn     func(d Database) string
	shared  shared
}

// shared is the server that the tests of a process share.
type shared struct {
	sync.Mutex
	server *server
}

// server is one process of a kind.
type server struct {
	*kind
	dir      string
	user     *testserver.User
	port     *testserver.Port
	settings []string
	proc     *testserver.Process
}

var databases atomic.Int64 // numbers those of this process

// database makes an empty database, on the kind's shared server if there are no settings.
func (k *kind) database(t testing.TB, settings []string) Database {
	t.Helper()
	s, err := k.serve(t, settings)
	if err != nil {
		t.Fatalf("sqltest: %s: %v", k.name, err)
	}
	d := Database{Host: "127.0.0.1", Port: s.port.Number, User: "jobguard", Name: fmt.Sprintf("test%d", databases.Add(1))}
	d.DSN = k.dsn(d)
	if err := s.ask(t.Context(), s, fmt.Sprintf(k.create, d.Name)); err != nil {
		t.Fatalf("sqltest: %s: create a database: %v; %s", k.name, err, s.proc.Output())
	}
	return d
}

func (k *kind) serve(t testing.TB, settings []string) (*server, error) {
	if len(settings) > 0 {
		s, err := k.start(settings)
		if err == nil {
			t.Cleanup(s.stop)
		}
		return s, err
	}
	k.shared.Lock()
	defer k.shared.Unlock()
	if k.shared.server != nil {
		return k.shared.server, nil
	}
	if !running.Load() {
		return nil, errors.New("the package's TestMain must run its tests by sqltest.Main")
	}
	s, err := k.start(nil)
	if err == nil {
		k.shared.server = s
	}
	return s, err
}

// start makes a data folder and starts a server on it.
func (k *kind) start(settings []string) (_ *server, err error) {
	user, err := testserver.Unprivileged(k.users...)
	if err != nil {
		return nil, err
	}
	// Not t.TempDir: another user could not get there.
	dir, err := os.MkdirTemp("", "sqltest-"+k.name+"-")
	if err != nil {
		return nil, err
	}
	s := &server{kind: k, dir: dir, user: user, settings: settings}
	defer func() {
		if err != nil {
			s.stop()
		}
	}()
	if err := user.Own(dir); err != nil {
		return nil, err
	}
	if err := k.init(s); err != nil {
		return nil, err
	}
	for range 10 {
		if s.port, err = testserver.ReservePort(); err != nil {
			return nil, err
		}
		if err = s.launch(); !errors.Is(err, errPortTaken) {
			return s, err
		}
		s.port.Release()
	}
	return nil, err
}

var errPortTaken = errors.New("ten ports in a row were taken between looking and using")

// launch starts the process and waits until it answers.
func (s *server) launch() error {
	binary, args, err := s.args(s)
	if err != nil {
		return err
	}
	proc, err := testserver.Start(s.user, s.dir, binary, args...)
	if err != nil {
		return err
	}
	s.proc = proc
	testserver.Poll(func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), testserver.Patience)
		defer cancel()
		err = s.ask(ctx, s, "SELECT 1")
		return err == nil || !proc.Running()
	})
	switch {
	case !proc.Running() && strings.Contains(proc.Output(), s.taken):
		return errPortTaken
	case !proc.Running():
		return fmt.Errorf("it exited at once; %s", proc.Output())
	case err != nil:
		return fmt.Errorf("it did not answer within %v: %w; %s", testserver.Patience, err, proc.Output())
	}
	return nil
}

// stop ends the server, if it has begun, and removes its data.
func (s *server) stop() {
	if s.proc != nil {
		s.proc.Stop(s.quit)
	}
	if s.port != nil {
		s.port.Release()
	}
	_ = os.RemoveAll(s.dir) // a folder for temporary files, which others clean too
}

// find returns the path of a program that Debian may keep outside of PATH.
func (k *kind) find(name string, patterns ...string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	for _, pattern := range patterns {
		if found, _ := filepath.Glob(pattern); len(found) > 0 {
			return found[len(found)-1], nil
		}
	}
	return "", fmt.Errorf("%s not found, install it: %s", name, k.install)
}

// run runs a program to its end, as the server's user.
func (s *server) run(binary string, args ...string) error {
	proc, err := testserver.Start(s.user, s.dir, binary, args...)
	if err != nil {
		return err
	}
	if err := proc.Wait(); err != nil {
		return fmt.Errorf("%s: %w; %s", filepath.Base(binary), err, proc.Output())
	}
	return nil
}

// client runs one of the client programs.
func client(ctx context.Context, binary string, args ...string) error {
	if out, err := exec.CommandContext(ctx, binary, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", filepath.Base(binary), err, out)
	}
	return nil
}
