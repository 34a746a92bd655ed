package redisstore_test

import (
	"testing"
	"time"

	"github.com/jobguard/jobguard/guard/lease"
	"github.com/jobguard/jobguard/guard/lease/redisstore"
	"github.com/jobguard/jobguard/internal/redistest"
)

func TestTickOfAnOlderVersionCountsOneRun(t *testing.T) {
	client := redistest.Start(t).Client(t)
	store := redisstore.New(client)
	r := lease.TickRequest{Key: "report", Owner: store.NewOwner(""), At: time.Unix(1, 0), MaxAhead: time.Minute, Fence: 7}
	_, err := store.ClaimTick(t.Context(), r)
	must(t, err)
	name := client.Keys(t.Context(), "guard:tick:*:report").Val()[0]
	must(t, client.HDel(t.Context(), name, "attempts").Err())
	for _, want := range []int{1, 2} { // as it is, and after one more claim
		if last, err := store.LastTick(t.Context(), "report"); err != nil || last.Attempts != want {
			t.Errorf("LastTick() = %+v, %v; want %d attempts", last, err, want)
		}
		r.Owner, r.Rerun, r.Fence = store.NewOwner(""), true, r.Fence+1
		_, err := store.ClaimTick(t.Context(), r)
		must(t, err)
	}
}

func TestTicksExpireLongAfterTheLastClaim(t *testing.T) {
	server := redistest.Start(t)
	client := server.Client(t)
	store := redisstore.New(client)
	for i := range 2 {
		reply, err := store.ClaimTick(t.Context(), lease.TickRequest{
			Key: "report", Owner: store.NewOwner(""), At: time.Unix(int64(i), 0), MaxAhead: time.Minute,
		})
		if err != nil || !reply.Claimed {
			t.Fatalf("ClaimTick() = %+v, %v", reply, err)
		}
		names, err := client.Keys(t.Context(), "guard:tick:*:report").Result()
		if err != nil || len(names) != 1 {
			t.Fatalf("kept: %q, %v", names, err)
		}
		left := client.TTL(t.Context(), names[0]).Val()
		if whole := 400 * 24 * time.Hour; left > whole || left < whole-time.Minute {
			t.Errorf("expires in %v, want 400 days", left)
		}
		if err := client.Expire(t.Context(), names[0], time.Hour).Err(); err != nil { // the next claim refreshes it
			t.Fatal(err)
		}
	}
}
