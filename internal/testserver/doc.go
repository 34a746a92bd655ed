// Package testserver has what tests start servers with: processes that end with
// the test, and ports that no other test takes. redistest starts Redis with it,
// sqltest PostgreSQL and MariaDB.
package testserver
