package httpmw

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/jobguard/jobguard/guard"
)

// KeyFunc makes the key of a request. Requests with the same key exclude each other,
// and every other run under that key. Build it with guard.Key, so that a worker can
// build the same one and different parts never make the same key.
//
// It is called before anything else, on the request's goroutine, and must not read
// the request's body. An error is answered with 400.
type KeyFunc func(*http.Request) (string, error)

// ErrEmptyComponent is wrapped by the errors of [PathValue], [Header] and [Join] when
// a part of the key is missing: without it all requests would share one key. It
// matches guard.ErrInvalidKey.
var ErrEmptyComponent = fmt.Errorf("httpmw: a component of the key is empty: %w", guard.ErrInvalidKey)

// PathValue makes the key from wildcards of the route's pattern. PathValue("sku")
// yields guard.Key("sku", value), PathValue("a", "b") yields guard.Key("a", valueOfA,
// "b", valueOfB). Values are as r.PathValue returns them: decoded by ServeMux, so
// that %2F is a slash; other routers may not decode.
//
// A name that the pattern does not have is empty, and so is every name where the
// middleware is outside the router: all requests are answered with 400, and the first
// is logged with log/slog at level Error. No name, or an empty one, panics.
func PathValue(names ...string) KeyFunc {
	if len(names) == 0 || slices.Contains(names, "") {
		panic("httpmw: PathValue: no name of a wildcard, or an empty one")
	}
	names = slices.Clone(names)
	var logged sync.Once
	return func(r *http.Request) (string, error) {
		parts := make([]string, 0, 2*len(names))
		for _, name := range names {
			value := r.PathValue(name)
			if value == "" {
				if !hasWildcard(r.Pattern, name) { // a mistake in the program
					logged.Do(func() {
						slog.Error("httpmw: the route has no such wildcard: no request has a key", "wildcard", name, "pattern", r.Pattern)
					})
				}
				return "", fmt.Errorf("path value %q: %w", name, ErrEmptyComponent)
			}
			parts = append(parts, name, value)
		}
		return guard.Key(parts...), nil
	}
}

// hasWildcard recognises the patterns of ServeMux and chi, "{sku}", "{sku...}" and
// "{sku:[a-z]+}", and those of gin and echo, ":sku" and "*sku".
func hasWildcard(pattern, name string) bool {
	for _, wildcard := range []string{"{" + name + "}", "{" + name + "...}", "{" + name + ":", ":" + name, "*" + name} {
		if strings.Contains(pattern, wildcard) {
			return true
		}
	}
	return false
}

// Header makes the key from a header of the request: Header("X-Tenant") yields
// guard.Key("x-tenant", value). Of several values the first counts, as in
// r.Header.Get. An empty name panics.
//
// The client chooses the value: a header that it can leave out or forge does not
// exclude other clients.
func Header(name string) KeyFunc {
	if name == "" {
		panic("httpmw: Header: the name is empty")
	}
	lower := strings.ToLower(name)
	return func(r *http.Request) (string, error) {
		value := r.Header.Get(name)
		if lower == "host" { // net/http keeps that one elsewhere
			value = r.Host
		}
		if value == "" {
			return "", fmt.Errorf("header %q: %w", name, ErrEmptyComponent)
		}
		return guard.Key(lower, value), nil
	}
}

// Join makes one key of the keys of parts, by guard.Key: different parts never make the same key.
// Other code takes it with guard.Key(guard.Key("tenant", t), guard.Key("sku", s)).
// No part, or a nil one, panics.
func Join(parts ...KeyFunc) KeyFunc {
	if len(parts) == 0 {
		panic("httpmw: Join: no KeyFunc")
	}
	if slices.ContainsFunc(parts, func(f KeyFunc) bool { return f == nil }) {
		panic("httpmw: Join: a KeyFunc is nil")
	}
	parts = slices.Clone(parts)
	return func(r *http.Request) (string, error) {
		keys := make([]string, len(parts))
		for i, part := range parts {
			key, err := part(r)
			if err != nil {
				return "", err
			}
			if key == "" {
				return "", fmt.Errorf("part %d of the key: %w", i+1, ErrEmptyComponent)
			}
			keys[i] = key
		}
		return guard.Key(keys...), nil
	}
}

// noKey wraps err, of a KeyFunc, to match guard.ErrInvalidKey.
func noKey(err error) error {
	if errors.Is(err, guard.ErrInvalidKey) {
		return err
	}
	return fmt.Errorf("httpmw: %w: %w", guard.ErrInvalidKey, err)
}
