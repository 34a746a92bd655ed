package guard_test

import (
	"testing"

	"github.com/jobguard/jobguard/internal/redistest"
)

// BenchmarkDo is an uncontended run on Redis over loopback.
func BenchmarkDo(b *testing.B) {
	g := onRedis(b, redistest.Start(b).Addr())
	b.ReportAllocs()
	for b.Loop() {
		if err := g.Do(b.Context(), "k", nothing); err != nil {
			b.Fatal(err)
		}
	}
}
