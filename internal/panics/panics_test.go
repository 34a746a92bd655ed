package panics_test

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/jobguard/jobguard/internal/panics"
)

func TestCallReturnsErrorsAndPanics(t *testing.T) {
	if err := panics.Call(func() error { return nil }); err != nil {
		t.Error(err)
	}
	if err := panics.Call(func() error { return os.ErrExist }); err != os.ErrExist {
		t.Errorf("got %v", err)
	}
	var none map[string]int
	for name, f := range map[string]func(){
		"a value": func() { panic("a bug") },
		"runtime": func() { none["k"]++ },
		"nil":     func() { panic(nil) }, //nolint:govet // it has to be caught too
	} {
		err := panics.Call(func() error { f(); return nil })
		var p *panics.Error
		if !errors.As(err, &p) {
			t.Fatalf("%s: got %v", name, err)
		}
		if !strings.Contains(p.At, "/panics_test.go:") || !strings.Contains(string(p.Stack), "TestCallReturnsErrorsAndPanics") {
			t.Errorf("%s: at %s\n%s", name, p.At, p.Stack)
		}
		if !strings.HasPrefix(p.Error(), "panic: ") {
			t.Errorf("%s: %s", name, p)
		}
	}
}

func TestPanicWithAnErrorIsThatError(t *testing.T) {
	p := panics.Catch(func() { panic(os.ErrClosed) })
	if !errors.Is(p, os.ErrClosed) {
		t.Errorf("%v", p)
	}
	if p := panics.Catch(func() {}); p != nil {
		t.Errorf("%v", p)
	}
}
