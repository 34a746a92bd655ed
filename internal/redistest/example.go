package redistest

import (
	"fmt"
	"os"
	"slices"
	"testing"
)

// ForExample starts a server for an example, which has no testing.TB, and returns its
// address. stop kills the server. That it cannot be started panics.
func ForExample() (addr string, stop func()) {
	t := new(example)
	return Start(t).Addr(), t.end
}

// example is as much of a testing.TB as Start needs.
type example struct {
	testing.TB
	cleanups []func()
}

func (*example) Helper() {}

func (*example) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

func (*example) Fatal(args ...any) { panic(fmt.Sprint(args...)) }

func (e *example) Cleanup(f func()) { e.cleanups = append(e.cleanups, f) }

func (e *example) TempDir() string {
	dir, err := os.MkdirTemp("", "redistest-")
	if err != nil {
		e.Fatal(err)
	}
	e.Cleanup(func() { _ = os.RemoveAll(dir) }) // the system will, if we cannot
	return dir
}

func (e *example) end() {
	for _, f := range slices.Backward(e.cleanups) {
		f()
	}
}
