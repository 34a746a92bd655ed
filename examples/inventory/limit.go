//go:build !race

package main

import "time"

// limit bounds both sales, which take five seconds unless the machine is very busy: a visitor
// sees the difference in 20 s at most.
const limit = 18 * time.Second
