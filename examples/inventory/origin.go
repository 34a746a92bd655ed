package main

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// private keeps pages of other sites from what is served here: also those whose name was
// made to lead to this machine (DNS rebinding), for they come with that name as the Host.
// An address is nobody else's name, nor is localhost; names are further ones of ours.
func private(next http.Handler, names ...string) http.Handler {
	return http.NewCrossOriginProtection().Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !ours(r.Host, names) {
			msg := fmt.Sprintf("%q is no name of this server: use its address, or name it in -listen", r.Host)
			http.Error(w, msg, http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	}))
}

// ours tells whether a Host is an address, localhost, or one of our names.
func ours(host string, names []string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	if _, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return true
	}
	return strings.EqualFold(host, "localhost") || slices.ContainsFunc(names, func(name string) bool { return strings.EqualFold(name, host) })
}
