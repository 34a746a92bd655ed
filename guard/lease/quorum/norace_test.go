//go:build !race

package quorum

// RaceDetector: see race_test.go.
const RaceDetector = false
