package redislog

import (
	"fmt"
	"strings"
	"unicode"
)

// Option configures a [Log]. [New] panics if a value is out of bounds.
type Option interface{ apply(*options) }

type option func(*options)

func (f option) apply(o *options) { f(o) }

type options struct {
	prefix string
	shards int
}

func newOptions(opts []Option) options {
	o := options{prefix: "journal:", shards: 1}
	for _, opt := range opts {
		if opt == nil {
			panic("redislog: New: an Option is nil")
		}
		opt.apply(&o)
	}
	return o
}

// Prefix is put in front of every key; default "journal:". All processes of a journal
// need the same prefix, and another one is another log. No braces or control characters.
func Prefix(s string) Option {
	return option(func(o *options) {
		if strings.ContainsAny(s, "{}") || strings.ContainsFunc(s, unicode.IsControl) {
			panic(fmt.Sprintf("redislog: Prefix(%q): need no braces and no control characters", s))
		}
		o.prefix = s
	})
}

// Shards spreads the log over so many slots of a Cluster, by the runs' keys: all runs of
// a key are in one. Each shard takes its part of the journal's MaxOpen, rounded up, so
// the bound is no longer exact. All processes need the same number. It can be raised, in
// all of them at once, but not lowered: what is in the shards above would be forgotten.
// From 1 to 256; default 1.
func Shards(n int) Option {
	return option(func(o *options) {
		if n < 1 || n > 256 {
			panic(fmt.Sprintf("redislog: Shards(%d): need 1 to 256", n))
		}
		o.shards = n
	})
}
