//go:build race

package quorum

// raceDetector makes the simulation about six times slower. It judges interleavings of
// goroutines, for which few schedules are enough; rules are judged without it.
const raceDetector = true
