// Package routers runs the code that docs/behaviour/httpmw.md has for chi, gin and
// echo. It has nothing to import. It is a module of its own, so that the routers are
// no dependencies of the library.
package routers
