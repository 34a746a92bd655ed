// Package databases runs sqllog on PostgreSQL, MariaDB and SQLite. It has nothing to
// import. It is a module of its own, so that the drivers are no dependencies of the library.
package databases
