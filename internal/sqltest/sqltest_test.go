package sqltest_test

import (
	"context"
	"net"
	"os"
	"strconv"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/jobguard/jobguard/internal/sqltest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(sqltest.Main(m)) }

func TestDatabasesOfAServerAreShared(t *testing.T) {
	for name, start := range map[string]func(testing.TB, ...string) sqltest.Database{"postgres": sqltest.Postgres, "mariadb": sqltest.MariaDB} {
		t.Run(name, func(t *testing.T) {
			one, two := start(t), start(t)
			if one.Port != two.Port || one.Name == two.Name {
				t.Errorf("%+v and %+v, want two databases of one server", one, two)
			}
			if !listens(t, one.Port) {
				t.Error("the server does not listen")
			}
		})
	}
}

func TestServerWithSettingsEndsWithItsTest(t *testing.T) {
	t.Setenv("TMPDIR", open(t))
	var port int
	t.Run("test", func(t *testing.T) {
		port = sqltest.Postgres(t, "synchronous_standby_names=nobody").Port
		if shared := sqltest.Postgres(t); shared.Port == port {
			t.Error("it is shared")
		}
	})
	if listens(t, port) {
		t.Error("the server listens after its test")
	}
}

// open returns a folder that other users can enter.
func open(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "sqltest-") //nolint:usetesting // t.TempDir is for this user alone
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func listens(t *testing.T, port int) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return false
	}
	_ = conn.Close() // nothing was sent
	return true
}
