package guard_test

import (
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/jobguard/jobguard/guard/guardtest"
	"github.com/jobguard/jobguard/internal/redistest"
)

// BenchmarkDoInMemory is what the guard itself costs, without a network.
func BenchmarkDoInMemory(b *testing.B) {
	g := newGuard(b, guardtest.NewStore())
	b.ReportAllocs()
	for b.Loop() {
		if err := g.Do(b.Context(), "k", nothing); err != nil {
			b.Fatal(err)
		}
	}
}

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

// BenchmarkFloor is the least that any lock on Redis costs: SET NX PX and a
// compare-and-delete, on a bare client.
func BenchmarkFloor(b *testing.B) {
	c := redistest.Start(b).Client(b)
	del := redis.NewScript(`if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0`)
	b.ReportAllocs()
	for b.Loop() {
		if !c.SetNX(b.Context(), "k", "v", 10_000_000_000).Val() {
			b.Fatal("not set")
		}
		if err := del.Run(b.Context(), c, []string{"k"}, "v").Err(); err != nil {
			b.Fatal(err)
		}
	}
}
