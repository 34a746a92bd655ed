// Package routers runs the snippets that the documentation of package httpmw has
// for chi, gin and echo, and holds it to them. It is nothing to import: it is a
// module of its own, so that the routers stay out of what the library depends on.
package routers
