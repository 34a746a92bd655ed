// Package compose has the servers for examples/inventory as people with Docker start
// them; see docker-compose.yml. It is a module of its own, because what its test reads
// that file with is not for the example's programs.
package compose
