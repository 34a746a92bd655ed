//go:build !unix

package main

import (
	"errors"
	"time"
)

// processorTime is what this process has used so far, user and system.
func processorTime() (time.Duration, error) { return 0, errors.ErrUnsupported }
