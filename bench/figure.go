package main

import (
	"math"
	"strconv"
)

// figure writes v with three digits, or whole if it is large.
func figure(v float64) string {
	switch a := math.Abs(v); {
	case a >= 100:
		return grouped(v)
	case a >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	case a >= 0.1 || a == 0:
		return trimmed(strconv.FormatFloat(v, 'f', 2, 64))
	default:
		return strconv.FormatFloat(v, 'g', 2, 64)
	}
}

// grouped writes v whole, with a space between thousands.
func grouped(v float64) string {
	s := strconv.FormatFloat(math.Round(v), 'f', 0, 64)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + " " + s[i:]
	}
	return s
}

func trimmed(s string) string {
	if s == "0.00" {
		return "0"
	}
	return s
}

// seconds writes a time in the unit that suits it.
func seconds(v float64) string {
	switch {
	case v == 0:
		return "0"
	case v < 1e-3:
		return figure(v*1e6) + " µs"
	case v < 1:
		return figure(v*1e3) + " ms"
	default:
		return figure(v) + " s"
	}
}
