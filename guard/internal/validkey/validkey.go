// Package validkey says which keys a guard takes.
package validkey

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
)

const most = 512 // bytes

// Check returns why key cannot be used, nil if it can.
func Check(key string) error {
	switch {
	case key == "":
		return errors.New("it is empty (guard.Key returns that if a part is empty)")
	case len(key) > most:
		return fmt.Errorf("it has %d bytes, more than %d (guard.Key shortens)", len(key), most)
	case strings.ContainsFunc(key, unicode.IsControl):
		return errors.New("it contains a control character (guard.Key escapes)")
	}
	return nil
}
