package main

import (
	"strings"
	"testing"
)

// What is missing in the name of a server is filled in, or named; of a password is spoken only where one is.
func TestServersWithoutASchemeAreUnderstoodOrToldWhatIsMissing(t *testing.T) {
	for text, want := range map[string]string{
		"127.0.0.1:26399": "redis://127.0.0.1:26399", "localhost:26399": "redis://localhost:26399", "host": "redis://host",
		"redis:6379": "redis://redis:6379", "redis-a.example.org:1/2": "redis://redis-a.example.org:1/2", "[::1]:26399": "redis://[::1]:26399",
		":26399": "redis://localhost:26399", "/run/redis.sock": "unix:///run/redis.sock", "rediss://host:1": "rediss://host:1",
	} {
		client, name, err := open(text)
		if err != nil || name != want {
			t.Errorf("%q is %q, %v, want %q", text, name, err, want)
			continue
		}
		must(t, client.Close())
	}
	for text, want := range map[string]string{
		"": "--redis is empty", "redis:/host": "no scheme with ://", "::1": "no scheme with ://", "u:s3cret@host:1": "no scheme with ://",
		"http://host:1": "http://host:1: unknown scheme: redis,", "redis://host:port": "the port a number", "redis://u:s3/cret@host:1": "in a password / is %2F",
	} {
		_, _, err := open(text)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "s3") || strings.Contains(err.Error(), "password") != strings.Contains(want, "password") {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
		call(t, "", "ls", "--redis", text).want(t, exitUsage, want)
	}
}
