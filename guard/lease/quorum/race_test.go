//go:build race

package quorum

// RaceDetector makes the simulation about six times slower. It judges goroutines side by
// side, for which few schedules are enough; rules are judged without it.
const RaceDetector = true
