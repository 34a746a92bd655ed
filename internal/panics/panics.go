// Package panics keeps panics of code that a package was given from ending what the
// package has still to do.
package panics

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
)

// Error is a panic.
type Error struct {
	Value any
	At    string // file:line of what panicked
	Stack []byte // of the goroutine, at the panic
}

// Error returns the value as text, without the stack.
func (e *Error) Error() string { return fmt.Sprintf("panic: %v", e.Value) }

// Unwrap returns Value if it is an error, else nil.
func (e *Error) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

// Catch calls f and returns its panic, nil if there was none. It catches no
// runtime.Goexit.
func Catch(f func()) (caught *Error) {
	defer func() {
		if p := recover(); p != nil {
			caught = &Error{Value: p, At: origin(), Stack: debug.Stack()}
		}
	}()
	f()
	return nil
}

// Call is Catch for a function that returns an error.
func Call(f func() error) (err error) {
	if p := Catch(func() { err = f() }); p != nil {
		return p
	}
	return err
}

// origin returns where the panic began that a deferred function, its caller, recovered.
func origin() string {
	for i := 2; ; i++ { // behind the frames of the runtime
		_, file, line, ok := runtime.Caller(i)
		if !ok || !strings.Contains(file, "/runtime/") {
			return fmt.Sprintf("%s:%d", file, line)
		}
	}
}
