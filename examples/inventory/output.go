package main

import "io"

// output is standard output. The first write that fails ends the show.
type output struct {
	w      io.Writer
	failed func(cause error)
}

func (o *output) Write(p []byte) (int, error) {
	n, err := o.w.Write(p)
	if err != nil {
		o.failed(&outputError{err})
	}
	return n, err
}

// outputError is why a write to standard output failed.
type outputError struct{ err error }

func (e *outputError) Error() string { return "write to standard output: " + e.err.Error() }

func (e *outputError) Unwrap() error { return e.err }
