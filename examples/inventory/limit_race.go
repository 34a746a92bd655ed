//go:build race

package main

import "time"

// limit is longer where the race detector looks on: everything takes several times as long.
const limit = time.Minute
