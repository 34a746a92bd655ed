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

// KeyFunc says what a request works on. Requests with the same key exclude each
// other, and every other run under that key. Build it with guard.Key, so that a
// worker can build the same one and parts cannot run into each other.
//
// It is called before anything else, on the request's goroutine, and should look
// only at the head of the request: it must not read the body. An error is answered
// with 400.
type KeyFunc func(*http.Request) (string, error)

// ErrEmptyComponent is wrapped by the errors of [PathValue], [Header] and [Join] when
// a part of the key is missing: without it everybody would share one lock. It
// matches guard.ErrInvalidKey.
var ErrEmptyComponent = fmt.Errorf("httpmw: a component of the key is empty: %w", guard.ErrInvalidKey)

// PathValue makes the key from wildcards of the route's pattern. PathValue("sku")
// yields guard.Key("sku", value), PathValue("a", "b") yields
// guard.Key("a", valueOfA, "b", valueOfB). Values are as r.PathValue gives them:
// by ServeMux decoded, so that %2F is a slash; other routers may not decode (see
// "Routers" above).
//
// A name that the pattern does not have is as empty as a value that is missing, and
// so is every name where the middleware stands outside the router: all requests
// are answered with 400, and log/slog is told once, at level Error. No name, or an
// empty one, panics.
func PathValue(names ...string) KeyFunc {
	if len(names) == 0 || slices.Contains(names, "") {
		panic("httpmw: PathValue: no name of a wildcard, or an empty one")
	}
	names = slices.Clone(names)
	var seen sync.Once
	return func(r *http.Request) (string, error) {
		parts := make([]string, 0, 2*len(names))
		for _, name := range names {
			value := r.PathValue(name)
			if value == "" {
				if !hasWildcard(r.Pattern, name) { // no fault of the client's
					seen.Do(func() {
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

// hasWildcard knows the patterns of ServeMux and chi, "{sku}", "{sku...}" and
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
// keep others from what it works on.
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

// Join makes one key of what parts yield, such that different results never make
// the same key. No part, or a nil one, panics.
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

// noKey makes err, of a KeyFunc, match guard.ErrInvalidKey.
func noKey(err error) error {
	if errors.Is(err, guard.ErrInvalidKey) {
		return err
	}
	return fmt.Errorf("httpmw: %w: %w", guard.ErrInvalidKey, err)
}
