package redistest_test

import (
	"errors"
	"fmt"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/jobguard/jobguard/internal/redistest"
)

func TestStartedServerAnswersAndTakesItsArguments(t *testing.T) {
	s := redistest.Start(t, "--maxmemory-policy", "noeviction", "--maxmemory", "64mb")
	c := s.Client(t)
	if err := c.Set(within(t), "k", "v", 0).Err(); err != nil {
		t.Fatal(err)
	}
	if got := c.ConfigGet(within(t), "maxmemory").Val()["maxmemory"]; got != "67108864" {
		t.Errorf("maxmemory = %s", got)
	}
}

func TestServersKnowNothingOfEachOther(t *testing.T) {
	servers := redistest.StartN(t, 3)
	for i, s := range servers {
		if err := s.Client(t).Set(within(t), "k", i, 0).Err(); err != nil {
			t.Fatal(err)
		}
	}
	for i, s := range servers {
		if got := s.Client(t).Get(within(t), "k").Val(); got != fmt.Sprint(i) {
			t.Errorf("server %d holds %q", i, got)
		}
	}
}

func TestPausedServerExecutesNothingUntilResumed(t *testing.T) {
	s := redistest.Start(t)
	impatient := s.Client(t, func(o *redis.Options) {
		o.ReadTimeout, o.MaxRetries = 200*time.Millisecond, -1
	})
	eventually(t, "it is connected, which may take longer than the ReadTimeout", func() bool {
		return impatient.Ping(within(t)).Err() == nil
	})
	s.Pause()
	err := impatient.Incr(within(t), "n").Err()
	var timeout net.Error
	if !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Errorf("a paused server answered: %v", err)
	}
	s.Resume()
	eventually(t, "the buried INCR is executed after Resume", func() bool {
		return s.Client(t).Get(within(t), "n").Val() == "1"
	})
}

func TestKilledServerComesBackEmptyOnTheSamePort(t *testing.T) {
	s := redistest.Start(t)
	if err := s.Client(t).Set(within(t), "k", "v", 0).Err(); err != nil {
		t.Fatal(err)
	}
	addr, pid := s.Addr(), s.Pid()
	s.Kill()
	if _, err := net.Dial("tcp", addr); err == nil {
		t.Error("the port of a killed server accepts connections")
	}
	s.Kill() // twice is as good as once
	s.Restart()
	if s.Addr() != addr || s.Pid() == pid {
		t.Errorf("restarted: address %s, was %s; pid %d, was %d", s.Addr(), addr, s.Pid(), pid)
	}
	if n := s.Client(t).DBSize(within(t)).Val(); n != 0 {
		t.Errorf("%d keys after a restart without persistence", n)
	}
}

func TestRestartKillsARunningOrPausedServer(t *testing.T) {
	s := redistest.Start(t)
	for _, prepare := range []func(){func() {}, s.Pause} {
		pid := s.Pid()
		prepare()
		s.Restart()
		if s.Pid() == pid {
			t.Error("the same process goes on")
		}
	}
}

func TestRestartWaitsForItsPort(t *testing.T) {
	s := redistest.Start(t)
	s.Kill()
	stranger, err := net.Listen("tcp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(200*time.Millisecond, func() { _ = stranger.Close() })
	s.Restart()
	if err := s.Client(t).Ping(within(t)).Err(); err != nil {
		t.Error(err)
	}
}

func TestPersistentServerKeepsItsDataOverAKill(t *testing.T) {
	s := redistest.Start(t, "--appendonly", "yes", "--appendfsync", "always")
	if err := s.Client(t).Set(within(t), "k", "v", 0).Err(); err != nil {
		t.Fatal(err)
	}
	s.Kill()
	s.Restart()
	if got := s.Client(t).Get(within(t), "k").Val(); got != "v" {
		t.Errorf("k = %q after a restart with persistence", got)
	}
}

func TestPausedServerIsKilledAtTheEndOfItsTest(t *testing.T) {
	var addr string
	t.Run("inner", func(t *testing.T) {
		s := redistest.Start(t)
		s.Pause()
		addr = s.Addr()
	})
	if _, err := net.Dial("tcp", addr); err == nil {
		t.Error("a paused server outlived its test")
	}
}

// failing is a testing.TB that notes how a test is failed.
type failing struct {
	testing.TB
	message string
}

func (f *failing) Fatal(args ...any) { f.message = fmt.Sprint(args...); runtime.Goexit() }

func (f *failing) Fatalf(format string, args ...any) { f.Fatal(fmt.Sprintf(format, args...)) }

func failureOf(t *testing.T, fn func(testing.TB)) string {
	t.Helper()
	tb := &failing{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		fn(tb)
	}()
	<-done
	return tb.message
}

func TestWithoutRedisServerTheTestFailsWithTheLineThatInstallsIt(t *testing.T) {
	t.Setenv(redistest.ServerEnv, "")
	t.Setenv("PATH", t.TempDir())
	got := failureOf(t, func(tb testing.TB) { redistest.Start(tb) })
	if !strings.Contains(got, "apt-get install -y redis-server") || strings.Contains(got, "\n") {
		t.Errorf("failed with %q", got)
	}
}

func TestServerThatDoesNotStartShowsItsLog(t *testing.T) {
	got := failureOf(t, func(tb testing.TB) { redistest.Start(tb, "--no-such-option", "1") })
	if !strings.Contains(got, ">>> 'no-such-option") {
		t.Errorf("failed with %q", got)
	}
}

func TestTakenPortMeansAnotherPort(t *testing.T) {
	// A server that cannot bind its port because an argument sends it to one
	// that is taken: it tries again, and gives up in the end.
	taken := redistest.Start(t)
	got := failureOf(t, func(tb testing.TB) {
		redistest.Start(tb, "--port", fmt.Sprint(taken.Port()))
	})
	if !strings.Contains(got, "ten ports in a row were taken") {
		t.Errorf("failed with %q", got)
	}
}
