package otelguard

import (
	"sync"

	"go.opentelemetry.io/otel/attribute"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
)

// The attributes: see docs/behaviour/otelguard.md.
const (
	nameKey    = attribute.Key("jobguard.name")
	outcomeKey = attribute.Key("jobguard.outcome")
	resultKey  = attribute.Key("jobguard.result")
	reasonKey  = attribute.Key("jobguard.reason")

	kindKey      = attribute.Key("jobguard.kind")
	operationKey = attribute.Key("jobguard.operation")

	attemptsKey  = attribute.Key("jobguard.attempts")
	waitedKey    = attribute.Key("jobguard.waited")
	contendedKey = attribute.Key("jobguard.contended")

	ttlKey      = attribute.Key("jobguard.ttl")
	renewalsKey = attribute.Key("jobguard.renewals")
	fenceKey    = attribute.Key("jobguard.fence")
	tokensKey   = attribute.Key("jobguard.tokens")
	releaseKey  = attribute.Key("jobguard.release")
	pieceKey    = attribute.Key("jobguard.piece")
	leftKey     = attribute.Key("jobguard.trust_left")

	keyKey  = attribute.Key("jobguard.key")
	keysKey = attribute.Key("jobguard.keys")

	errorTypeKey = semconv.ErrorTypeKey
)

// otherError is the semantic conventions' value for all other errors.
var otherError = semconv.ErrorTypeOther.Value.AsString()

type kv = attribute.KeyValue

// list holds the attributes of one span, which copies them.
type list struct{ kvs []kv }

func (l *list) add(kvs ...kv) { l.kvs = append(l.kvs, kvs...) }

// most is how many attributes a span has.
const most = 9

var lists = sync.Pool{New: func() any { return &list{make([]kv, 0, most)} }}

func attributes() *list { return lists.Get().(*list) } //nolint:forcetypeassert // nothing else is in it

// done returns the emptied list to the pool.
func (l *list) done() {
	clear(l.kvs)
	l.kvs = l.kvs[:0]
	lists.Put(l)
}
