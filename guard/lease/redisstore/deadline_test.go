package redisstore_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/jobguard/jobguard/guard/lease"
	"github.com/jobguard/jobguard/internal/redistest"
)

// wrapped is a client whose options New cannot see.
type wrapped struct{ *redis.Client }

func TestCallsReturnByTheirDeadlineIfTheClientHangs(t *testing.T) {
	for name, open := range map[string]func(t *testing.T, addr string, stuck chan struct{}) redis.UniversalClient{
		"wrapped, server silent": func(t *testing.T, addr string, stuck chan struct{}) redis.UniversalClient {
			proxy := redistest.NewProxy(t, addr)
			client := wrapped{dial(t, proxy, func(o *redis.Options) { o.ReadTimeout = -1 })}
			must(t, client.Ping(t.Context()).Err())
			proxy.Blackhole(redistest.Both)
			go func() { <-stuck; proxy.Heal() }()
			return client
		},
		"OnConnect sleeps": func(_ *testing.T, addr string, stuck chan struct{}) redis.UniversalClient {
			return redis.NewClient(&redis.Options{
				Addr:                  addr,
				ContextTimeoutEnabled: true,
				OnConnect:             func(context.Context, *redis.Conn) error { <-stuck; return nil },
			})
		},
		"CredentialsProvider sleeps": func(_ *testing.T, addr string, stuck chan struct{}) redis.UniversalClient {
			return redis.NewClient(&redis.Options{
				Addr:                  addr,
				ContextTimeoutEnabled: true,
				CredentialsProvider:   func() (string, string) { <-stuck; return "", "" },
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			stuck := make(chan struct{})
			unblock := sync.OnceFunc(func() { close(stuck) })
			defer unblock()
			client := open(t, redistest.Start(t).Addr(), stuck)
			defer client.Close()
			p := newProcess(t, client)
			for what, call := range map[string]func(ctx context.Context, owner string) error{
				"Acquire": func(ctx context.Context, owner string) error {
					_, err := p.Acquire(ctx, lease.AcquireRequest{Key: "k", Owner: owner, TTL: ttl, Place: lease.Place{Reservation: reservation}, TokenCount: 1})
					return err
				},
				"Renew": func(ctx context.Context, owner string) error {
					return p.Renew(ctx, []lease.RenewRequest{{Key: "k", Owner: owner, TTL: ttl}})[0].Err
				},
				"Release": func(ctx context.Context, owner string) error {
					_, err := p.Release(ctx, lease.ReleaseRequest{Key: "k", Owner: owner, Place: lease.Place{Reservation: reservation}})
					return err
				},
			} {
				const patience, overdue = 100 * time.Millisecond, time.Second
				attempt := lease.NewAttempt(time.Now().Add(patience))
				// One after the other: a call without others may be sent on its own goroutine.
				for _, ctx := range []context.Context{attempt, within(t, 2*patience)} {
					returned := make(chan error, 1)
					go func() { returned <- call(ctx, p.NewOwner("")) }()
					select {
					case err := <-returned:
						if !errors.Is(err, context.DeadlineExceeded) {
							t.Errorf("%s = %v, want the end of its context", what, err)
						}
					case <-time.After(2*patience + overdue):
						t.Errorf("%s is %v late to return by the end of its %T", what, overdue, ctx)
						unblock()
						<-returned
						return
					}
				}
				attempt.End()
			}
		})
	}
}

// What a flusher may still write to is not read: the race detector judges.
func TestFindHolderOfASilentServerReadsNoLateReply(t *testing.T) {
	server := redistest.Start(t)
	s := newProcess(t, server.Client(t))
	if _, err := s.FindHolder(within(t, time.Second), "k"); err != nil {
		t.Fatal(err)
	}
	server.Pause()
	for range 30 {
		if _, err := s.FindHolder(within(t, 20*time.Millisecond), "k"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("FindHolder() = %v, want the end of its context", err)
		}
	}
	server.Resume()
	time.Sleep(200 * time.Millisecond) // late replies come
}
