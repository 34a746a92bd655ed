package redisstore_test

import (
	"context"
	"fmt"
	"log"
	"net"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/lease"
	"github.com/jobguard/jobguard/guard/lease/redisstore"
	"github.com/jobguard/jobguard/internal/redistest"
)

// A replica has the lease before fn begins: should it be promoted now, the key is still held.
func ExampleReplicaAck() {
	addr, stop := redistest.ForExample() // "localhost:6379"
	defer stop()
	replicaAddr, stopReplica := redistest.ForExample()
	defer stopReplica()
	client := redis.NewClient(&redis.Options{Addr: addr})
	defer func() { _ = client.Close() }() // nothing is written any more
	replica := redis.NewClient(&redis.Options{Addr: replicaAddr})
	defer func() { _ = replica.Close() }() // it is only read
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		log.Panic(err)
	}
	ctx := context.Background()
	if err := replica.ReplicaOf(ctx, host, port).Err(); err != nil {
		log.Panic(err)
	}
	if err := client.Wait(ctx, 1, time.Minute).Err(); err != nil { // until it has caught up
		log.Panic(err)
	}

	g, err := guard.New(redisstore.New(client, redisstore.Owner("host-1"), redisstore.ReplicaAck(1, time.Second)))
	if err != nil {
		log.Panic(err)
	}
	err = g.Do(ctx, "import", func(ctx context.Context) error {
		value, err := replica.Get(ctx, "guard:import").Result()
		fmt.Println("on the replica held by", lease.OwnerName(value))
		return err
	})
	fmt.Println(err, g.Shutdown(ctx))
	// Output:
	// on the replica held by host-1
	// <nil> <nil>
}
