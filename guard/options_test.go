package guard_test

import (
	"context"
	"errors"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
)

func TestBadOptionsAreNamedWithTheirBound(t *testing.T) {
	for _, c := range []struct {
		opts []guard.Option
		want []string
	}{
		{[]guard.Option{guard.TTL(49 * time.Millisecond)}, []string{"TTL", "49ms", "50ms"}},
		{[]guard.Option{guard.TTL(0)}, []string{"TTL", "50ms"}},
		{[]guard.Option{guard.TTL(-time.Second)}, []string{"TTL", "50ms"}},
		{[]guard.Option{guard.TTL(math.MaxInt64)}, []string{"TTL", "87600h"}},
		{[]guard.Option{guard.MinHold(math.MaxInt64)}, []string{"MinHold", "87600h"}},
		{[]guard.Option{guard.MaxHold(math.MaxInt64)}, []string{"MaxHold", "87600h"}},
		{[]guard.Option{guard.TTL(time.Second), guard.Margin(500 * time.Millisecond)}, []string{"Margin", "500ms", "TTL/2"}},
		{[]guard.Option{guard.Margin(-1)}, []string{"Margin", "negative"}},
		{[]guard.Option{guard.Wait(-1)}, []string{"Wait", "negative"}},
		{[]guard.Option{guard.MaxHold(-1)}, []string{"MaxHold", "negative"}},
		{[]guard.Option{guard.MinHold(-1)}, []string{"MinHold", "negative"}},
		{[]guard.Option{guard.Limit(0)}, []string{"Limit", "0", "1"}},
		{[]guard.Option{guard.Limit(2), guard.Shared()}, []string{"Limit", "Shared"}},
		{[]guard.Option{guard.Observe(nil)}, []string{"Observe", "nil"}},
		{[]guard.Option{nil}, []string{"Option", "nil"}},
	} {
		_, err := guard.New(guardtest.NewStore(), c.opts...)
		if err == nil || !strings.HasPrefix(err.Error(), "guard: ") {
			t.Errorf("New(%v) = %v, want an error of guard", c.want, err)
			continue
		}
		for _, w := range c.want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("New() = %q, want it to say %q", err, w)
			}
		}
		got := recovered(func() { newGuard(t, guardtest.NewStore()).With(c.opts...) })
		if got != err.Error() {
			t.Errorf("With panics with %v, New says %q", got, err)
		}
	}
}

func recovered(f func()) (p any) {
	defer func() { p = recover() }()
	f()
	return nil
}

// incomparable is a Store of a type that cannot be compared.
type incomparable struct {
	*guardtest.Store
	_ []int
}

func TestMisusePanicsInGuardsName(t *testing.T) {
	g := newGuard(t, guardtest.NewStore())
	for name, f := range map[string]func(){
		"nil store":       func() { _, _ = guard.New(nil) },
		"typed nil store": func() { _, _ = guard.New((*guardtest.Store)(nil)) },
		"incomparable":    func() { _, _ = guard.New(incomparable{Store: guardtest.NewStore()}) },
		"nil fn of Do":    func() { _ = g.Do(t.Context(), "k", nil) },
		"nil fn of DoAll": func() { _ = g.DoAll(t.Context(), []string{"k"}, nil) },
		"nil fn of Lead":  func() { _ = g.Lead(t.Context(), "k", nil) },
		"nil fn of Value": func() { _, _ = guard.Value[int](t.Context(), g, "k", nil) },
		"nil default":     func() { guard.SetDefault(nil) },
		"no default":      func() { _ = guard.Do(t.Context(), "k", nothing) },
	} {
		if p, _ := recovered(f).(string); !strings.HasPrefix(p, "guard: ") {
			t.Errorf("%s: panic %q", name, p)
		}
	}
}

func TestDefaultGuard(t *testing.T) {
	store := guardtest.NewStore()
	if guard.Default() != nil {
		t.Fatal("there is a default Guard already")
	}
	defer guard.ResetDefault()
	g := newGuard(t, store)
	guard.SetDefault(g)
	if guard.Default() != g {
		t.Error("Default is not what was set")
	}
	noError(t, guard.Do(t.Context(), "k", nothing))
	noError(t, guard.DoAll(t.Context(), []string{"k", "l"}, nothing))
	noError(t, guard.Lead(t.Context(), "k", nothing))
	if n := store.Calls(guardtest.OpAcquire); n != 4 {
		t.Errorf("%d acquires, want 4", n)
	}
}

func TestValueReturnsWhatFnReturned(t *testing.T) {
	store := guardtest.NewStore()
	g := newGuard(t, store, guard.Wait(0))
	v, err := guard.Value(t.Context(), g, "k", func(context.Context) (int, error) { return 42, nil })
	if v != 42 || err != nil {
		t.Errorf("Value() = %d, %v", v, err)
	}
	store.Hold("k", "other")
	v, err = guard.Value(t.Context(), g, "k", func(context.Context) (int, error) { return 42, nil })
	if v != 0 || !errors.Is(err, guard.ErrBusy) {
		t.Errorf("Value() = %d, %v, want nothing and ErrBusy", v, err)
	}
}

func TestInvalidKeysAreRefusedWithoutARoundTrip(t *testing.T) {
	store := guardtest.NewStore()
	g := newGuard(t, store)
	for _, key := range []string{"", "a\nb", "\x00", "a\x7f", "tab\t", "\u0085", strings.Repeat("x", 513)} {
		wantError(t, g.Do(t.Context(), key, nothing), guard.ErrInvalidKey)
	}
	if n := store.Calls(guardtest.OpAcquire); n != 0 {
		t.Errorf("%d round trips", n)
	}
	for _, key := range []string{"a", "a b", "{x}", "q:{0}:a", "ключ", strings.Repeat("x", 512)} {
		if err := g.Do(t.Context(), key, nothing); err != nil {
			t.Errorf("Do(%q) = %v", key, err)
		}
	}
}

// What an adapter falls back on counts only where the user said nothing.
func TestFallbackDoesNotOverrideWhatTheUserSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, c := range []struct {
			sentence string
			opts     []guard.Option
			wait     time.Duration
			name     string
		}{
			{"nothing said", nil, 2 * time.Second, "route"},
			{"Wait", []guard.Option{guard.Wait(time.Minute)}, time.Minute, "route"},
			{"Wait(0)", []guard.Option{guard.Wait(0)}, 0, "route"},
			{"Name", []guard.Option{guard.Name("orders")}, 2 * time.Second, "orders"},
		} {
			s := guardtest.NewStore()
			s.Hold("k", "stranger")
			seen := &recorder{}
			g := newGuard(t, s, append(c.opts, guard.Observe(seen))...).
				With(guard.Fallback(guard.Wait(2*time.Second), guard.Name("route")))
			began := time.Now()
			wantError(t, g.Do(t.Context(), "k", nothing), guard.ErrBusy)
			if waited := time.Since(began); waited != c.wait {
				t.Errorf("%s: waited %v, want %v", c.sentence, waited, c.wait)
			}
			if name := seen.acquired[0].Name; name != c.name {
				t.Errorf("%s: called %q, want %q", c.sentence, name, c.name)
			}
		}
	})
}
