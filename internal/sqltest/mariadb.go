package sqltest

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
)

// MariaDB returns an empty database of MariaDB. A setting is "name=value".
func MariaDB(t testing.TB, settings ...string) Database {
	t.Helper()
	return mariadb.database(t, settings)
}

var mariadb = &kind{
	name:    "mariadb",
	install: "apt-get install -y mariadb-server",
	users:   []string{"mysql", "nobody"},
	init: func(s *server) error {
		install, err := s.find("mariadb-install-db")
		if err != nil {
			return err
		}
		return s.run(install, "--no-defaults", "--datadir="+filepath.Join(s.dir, "data"), "--auth-root-authentication-method=normal",
			"--skip-test-db", "--innodb-flush-log-at-trx-commit=0", "--innodb-doublewrite=0")
	},
	args: func(s *server) (string, []string, error) {
		binary, err := s.find("mariadbd", "/usr/sbin/mariadbd")
		args := []string{
			"--no-defaults",
			"--datadir=" + filepath.Join(s.dir, "data"),
			"--bind-address=127.0.0.1",
			"--port=" + strconv.Itoa(s.port.Number),
			"--socket=" + filepath.Join(s.dir, "socket"),
			"--pid-file=" + filepath.Join(s.dir, "pid"),
			"--skip-name-resolve",
			"--innodb-flush-log-at-trx-commit=0",
			"--innodb-doublewrite=0",
			"--innodb-buffer-pool-size=32M",
			"--max-connections=300",
		}
		for _, setting := range s.settings {
			args = append(args, "--"+setting)
		}
		return binary, args, err
	},
	taken: "Can't start server: Bind on TCP/IP port",
	ask: func(ctx context.Context, s *server, statement string) error {
		mariadb, err := s.find("mariadb")
		if err != nil {
			return err
		}
		return client(ctx, mariadb, "--no-defaults", "--user=root", "--socket="+filepath.Join(s.dir, "socket"), "--execute", statement)
	},
	create: "CREATE USER IF NOT EXISTS jobguard@127.0.0.1; GRANT ALL ON *.* TO jobguard@127.0.0.1; CREATE DATABASE %s",
	quit:   syscall.SIGTERM,
	dsn: func(d Database) string {
		return fmt.Sprintf("%s@tcp(%s:%d)/%s", d.User, d.Host, d.Port, d.Name)
	},
}
