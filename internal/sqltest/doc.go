// Package sqltest starts real PostgreSQL and MariaDB servers for tests, with the
// standard library alone: it brings no driver.
//
//   - [Postgres] and [MariaDB] return an empty database. Without settings it is on a
//     server that the tests of the process share, which the first call starts and
//     [Main] stops; with settings on a server of its own, which ends with the test.
//   - Servers listen on a free port of 127.0.0.1 and keep their data in a folder of
//     their own, which goes with them. They do not sync it to the disk.
//   - As root they run as the user postgres, mysql or nobody.
//   - If a server is not installed the test fails with the line that installs it.
//
// All servers end with the test process, on Linux also if that is killed.
package sqltest
