package guard

import (
	"context"
	"reflect"

	"github.com/jobguard/jobguard/guard/internal/engine/queue"
	"github.com/jobguard/jobguard/guard/internal/terms"
	"github.com/jobguard/jobguard/guard/lease"
)

func init() {
	terms.Of = func(g any) terms.Terms {
		o := g.(*Guard).opts //nolint:forcetypeassert // it takes nothing else
		return terms.Terms{Name: o.name, TTL: o.ttl, Exclusive: o.limit == nil && !o.shared}
	}
	terms.Begin = func(g any) func() {
		calls := &g.(*Guard).family.calls //nolint:forcetypeassert // the same
		calls.Begin()
		return calls.End
	}
	terms.Closed = func(g any) bool { return g.(*Guard).family.engine.Closed() } //nolint:forcetypeassert // the same
	terms.NoReplace = noReplace
}

// Guard runs functions under leases. It is safe for concurrent use. Make one
// per store with [New] and derive variants with [Guard.With].
type Guard struct {
	family *family
	opts   options
}

// New returns a Guard over store, or an error that names the option that is
// out of bounds. It does no I/O and starts no goroutine. A nil store panics.
func New(store lease.Store, opts ...Option) (*Guard, error) {
	if v := reflect.ValueOf(store); store == nil || v.Kind() == reflect.Pointer && v.IsNil() {
		panic("guard: nil Store")
	}
	if !reflect.TypeOf(store).Comparable() {
		panic("guard: the Store's type is not comparable; pass a pointer")
	}
	o, err := options{ttl: defaultTTL}.with(opts)
	if err != nil {
		return nil, err
	}
	if err := o.suit(store); err != nil {
		return nil, err
	}
	return &Guard{family: newFamily(queue.New(store)), opts: o}, nil
}

// With returns a Guard that shares everything with g, with opts on top. It
// panics on what New would refuse, in the same words: check values that come
// from configuration with New.
func (g *Guard) With(opts ...Option) *Guard {
	o, err := g.opts.with(opts)
	if err == nil {
		err = o.suit(g.Store())
	}
	if err != nil {
		panic(err.Error())
	}
	return &Guard{family: g.family, opts: o}
}

// Store returns the store that g was made over, to use more of it than leases.
func (g *Guard) Store() lease.Store { return g.family.engine.Store() }

// Do runs fn on the calling goroutine while key is held, once at a time across
// all processes that use the same store and prefix, and returns fn's error
// unchanged. See the package documentation for the other errors.
//
// fn's context is derived from ctx. It is cancelled with cause ErrLost at least
// Margin before the lease can expire, and when ctx is cancelled; in the latter
// case the lease is kept until fn returns. Do cannot stop an fn that ignores its
// context: pass [Fence] along to what it writes to.
//
// If ctx comes from a run that holds key already, fn runs under that lease. Runs
// that nest different keys in opposite orders deadlock until a wait ends: take all
// keys at once with [Guard.DoAll].
//
// Panics and runtime.Goexit pass through after the release. A nil fn panics.
func (g *Guard) Do(ctx context.Context, key string, fn func(context.Context) error) error {
	mustHave(fn != nil)
	return g.do(ctx, opDo, key, fn).err
}

// Value is [Guard.Do] for a function that returns a value. The value is what
// fn returned, also with an error; it is the zero value if fn did not run.
func Value[T any](ctx context.Context, g *Guard, key string, fn func(context.Context) (T, error)) (T, error) {
	mustHave(fn != nil)
	var v T
	err := g.Do(ctx, key, func(ctx context.Context) (err error) {
		v, err = fn(ctx)
		return err
	})
	return v, err
}

func mustHave(fn bool) {
	if !fn {
		panic("guard: nil fn")
	}
}
