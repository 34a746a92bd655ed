package sqltest

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
)

// Postgres returns an empty database of PostgreSQL. A setting is "name=value".
func Postgres(t testing.TB, settings ...string) Database {
	t.Helper()
	return postgres.database(t, settings)
}

const debianPostgres = "/usr/lib/postgresql/*/bin/"

var postgres = &kind{
	name:    "postgres",
	install: "apt-get install -y postgresql",
	users:   []string{"postgres", "nobody"},
	init: func(s *server) error {
		initdb, err := s.find("initdb", debianPostgres+"initdb")
		if err != nil {
			return err
		}
		return s.run(initdb, "--pgdata", filepath.Join(s.dir, "data"), "--username", "jobguard",
			"--auth", "trust", "--encoding", "UTF8", "--locale", "C.UTF-8", "--no-sync")
	},
	args: func(s *server) (string, []string, error) {
		binary, err := s.find("postgres", debianPostgres+"postgres")
		args := []string{
			"-D", filepath.Join(s.dir, "data"),
			"-c", "listen_addresses=127.0.0.1",
			"-c", "port=" + strconv.Itoa(s.port.Number),
			"-c", "unix_socket_directories=",
			"-c", "fsync=off",
			"-c", "max_connections=300",
		}
		for _, setting := range s.settings {
			args = append(args, "-c", setting)
		}
		return binary, args, err
	},
	taken: "could not create any TCP/IP sockets",
	ask: func(ctx context.Context, s *server, statement string) error {
		psql, err := s.find("psql", debianPostgres+"psql")
		if err != nil {
			return err
		}
		// A server that waits for a standby must not keep its own tests from beginning.
		return client(ctx, psql, "--no-psqlrc", "-q", "-v", "ON_ERROR_STOP=1", "-c", "SET synchronous_commit = local", "-c", statement,
			fmt.Sprintf("postgres://jobguard@127.0.0.1:%d/postgres", s.port.Number))
	},
	create: "CREATE DATABASE %s",
	quit:   syscall.SIGQUIT,
	dsn: func(d Database) string {
		return fmt.Sprintf("postgres://%s@%s:%d/%s", d.User, d.Host, d.Port, d.Name)
	},
}
