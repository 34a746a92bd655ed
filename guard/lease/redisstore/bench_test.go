package redisstore_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/jobguard/jobguard/guard/lease"
	"github.com/jobguard/jobguard/guard/lease/redisstore"
	"github.com/jobguard/jobguard/internal/redistest"
)

var compareAndDelete = redis.NewScript(`if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0`)

// BenchmarkUncontended acquires and releases keys without contention: this store, and
// the minimum of a lock on Redis, SET NX PX and a script.
func BenchmarkUncontended(b *testing.B) {
	ctx, cancel := context.WithTimeout(b.Context(), 10*time.Minute)
	defer cancel()
	client := redistest.Start(b).Client(b)
	store := redisstore.New(client)
	pairs := map[string]func(key string) error{
		"bare": func(key string) error {
			if err := client.SetNX(ctx, key, "owner", 10*time.Second).Err(); err != nil {
				return err
			}
			return compareAndDelete.Run(ctx, client, []string{key}, "owner").Err()
		},
		"store": func(key string) error {
			owner := store.NewOwner("")
			r, err := store.Acquire(ctx, lease.AcquireRequest{Key: key, Owner: owner, TTL: 10 * time.Second, Place: lease.Place{Reservation: time.Second}, Join: true, TokenCount: 1})
			if err != nil || !r.Granted {
				return fmt.Errorf("%+v, %v", r, err)
			}
			_, err = store.Release(ctx, lease.ReleaseRequest{Key: key, Owner: owner, Place: lease.Place{Reservation: time.Second}})
			return err
		},
	}
	for _, name := range []string{"bare", "store"} {
		for _, goroutines := range []int{1, 16, 256} {
			b.Run(fmt.Sprintf("%s/%d", name, goroutines), func(b *testing.B) {
				b.ReportAllocs()
				work := make(chan struct{}, b.N)
				for range b.N {
					work <- struct{}{}
				}
				close(work)
				done := make(chan error)
				b.ResetTimer()
				for g := range goroutines {
					go func() {
						key := fmt.Sprintf("key-%d", g)
						for range work {
							if err := pairs[name](key); err != nil {
								done <- err
								return
							}
						}
						done <- nil
					}()
				}
				for range goroutines {
					if err := <-done; err != nil {
						b.Error(err)
					}
				}
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "pairs/s")
			})
		}
	}
}
