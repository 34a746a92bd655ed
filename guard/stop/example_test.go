package stop_test

import (
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"github.com/robfig/cron/v3"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/asynqmw"
	"github.com/jobguard/jobguard/guard/cronwrap"
	"github.com/jobguard/jobguard/guard/httpmw"
	"github.com/jobguard/jobguard/guard/lease/redisstore"
	"github.com/jobguard/jobguard/guard/stop"
)

// A program that serves HTTP, works on tasks, runs cron jobs and campaigns for a lead, and
// is stopped by SIGTERM.
func Example() {
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer cancel()
	p, err := start("localhost:6379", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "sold") }, noTelemetry{})
	if err != nil {
		log.Print(err)
		return
	}
	<-ctx.Done()
	if err := p.steps().Stop(); err != nil {
		log.Print(err)
	}
}

// program is one replica.
type program struct {
	ready    atomic.Bool   // what /readyz says
	noticed  time.Duration // until the load balancer has seen it
	srv      *http.Server
	addr     net.Addr
	tasks    *asynq.Server
	mw       *asynqmw.Middleware
	jobs     *cronwrap.Runner
	guard    *guard.Guard
	client   *redis.Client
	provider provider
}

// provider is an OpenTelemetry provider, of traces for example.
type provider interface {
	Shutdown(ctx context.Context) error
}

type noTelemetry struct{}

func (noTelemetry) Shutdown(context.Context) error { return nil }

// steps end the program in 25 s at most.
func (p *program) steps() *stop.Steps {
	steps := stop.New(25 * time.Second)                            // Kubernetes kills after 30 s
	steps.Add("readiness", p.notReady, stop.Budget(6*time.Second)) // until the load balancer has noticed
	steps.Add("http", p.srv.Shutdown, stop.Budget(6*time.Second))
	steps.Add("asynq", p.stopTasks, stop.Budget(4*time.Second)) // Shutdown of the server, then Close of mw
	steps.Add("cron", p.jobs.Shutdown, stop.Budget(3*time.Second))
	steps.Add("guard", p.guard.Shutdown, stop.Budget(3*time.Second)) // leaders too
	steps.Add("redis", p.closeRedis, stop.Budget(time.Second))
	steps.Add("telemetry", p.provider.Shutdown, stop.Budget(2*time.Second))
	return steps
}

// notReady takes the program out of the load balancer, and serves on until that has noticed.
func (p *program) notReady(ctx context.Context) error {
	p.ready.Store(false)
	select {
	case <-time.After(p.noticed):
	case <-ctx.Done():
	}
	return nil
}

// stopTasks takes up to the ShutdownTimeout of asynq's Config, whatever its context says.
func (p *program) stopTasks(context.Context) error {
	p.tasks.Shutdown()
	return p.mw.Close()
}

func (p *program) closeRedis(context.Context) error { return p.client.Close() }

func start(redisAddr string, sell http.HandlerFunc, t provider) (*program, error) {
	p := &program{noticed: 3500 * time.Millisecond, provider: t}
	p.client = redis.NewClient(&redis.Options{Addr: redisAddr, ContextTimeoutEnabled: true})
	var err error
	if p.guard, err = guard.New(redisstore.New(p.client)); err != nil {
		return nil, err
	}
	if err := p.work(asynq.RedisClientOpt{Addr: redisAddr}); err != nil {
		return nil, err
	}
	if err := p.runJobs(); err != nil {
		return nil, err
	}
	// The goroutine ends at the guard's Shutdown.
	go func() {
		err := p.guard.With(guard.Name("outbox-relay")).Lead(context.Background(), "outbox-relay", func(ctx context.Context) error {
			<-ctx.Done() // relay until then
			return nil
		})
		if !errors.Is(err, guard.ErrClosed) {
			log.Print(err)
		}
	}()
	if err := p.serve(sell); err != nil {
		return nil, err
	}
	return p, nil
}

func (p *program) work(conn asynq.RedisConnOpt) (err error) {
	if p.mw, err = asynqmw.New(p.guard, asynqmw.PayloadField("order_id"), asynqmw.WithRedis(conn)); err != nil {
		return err
	}
	mux := asynq.NewServeMux()
	mux.Use(p.mw.Handler)
	mux.HandleFunc("order:ship", func(context.Context, *asynq.Task) error { return nil })
	p.tasks = asynq.NewServer(conn, p.mw.Config(asynq.Config{ShutdownTimeout: 3 * time.Second, LogLevel: asynq.WarnLevel}))
	return p.tasks.Start(mux)
}

func (p *program) runJobs() (err error) {
	c := cron.New(cron.WithSeconds())
	if p.jobs, err = cronwrap.New(c, p.guard); err != nil {
		return err
	}
	if _, err = p.jobs.Add("* * * * * *", "invoices", func(context.Context) error { return nil }); err != nil {
		return err
	}
	c.Start()
	return nil
}

func (p *program) serve(sell http.HandlerFunc) error {
	mux := http.NewServeMux()
	mux.Handle("POST /stock/{sku}", httpmw.New(p.guard, httpmw.PathValue("sku"))(sell))
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if !p.ready.Load() {
			http.Error(w, "stopping", http.StatusServiceUnavailable)
			return
		}
	})
	l, err := net.Listen("tcp", "localhost:0") // ":8080"
	if err != nil {
		return err
	}
	p.addr = l.Addr()
	p.srv = &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	go func() { // ends at the server's Shutdown
		if err := p.srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			log.Print(err)
		}
	}()
	p.ready.Store(true)
	return nil
}
