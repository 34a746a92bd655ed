package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// race is a workload in which goroutines run as often as they can, all under
// one key or each time under a new one.
type race struct {
	clients    int // each as a process of its own would be
	goroutines int // of each client
	distinct   bool
	nodes      int           // servers; 0: one
	stopped    bool          // the last of them does not answer
	work       time.Duration // under the lock
	stretch    int           // how many times longer than others it is measured, since waits are longer; 0: as others
}

func (s race) as(name, title string) workload {
	return workload{name: name, title: title, nodes: s.nodes, measure: s.measure}
}

// The phases of a race. Only what begins to run in the second is counted.
const (
	warmingUp = iota
	measuring
	over
)

// grace is how long after the end all workers may take to be served once more, at
// most as long as the race itself. No worker comes after them, so it is soon done;
// who still waits is cancelled.
const grace = 500 * time.Millisecond

// track is what the workers of one race share.
type track struct {
	race
	judge judge
	phase atomic.Int32
	ended time.Time // written before phase becomes over
}

// worker is one goroutine of a race, and what it has seen. Others look at it
// when it has ended.
type worker struct {
	*track
	locker Locker
	name   string

	began time.Time // of the present Do
	ran   bool      // fn was called by the present Do

	waits    histogram // from the call of Do to that of fn
	runs     int       // that began while measuring
	failures int
	failure  error // the first
}

func (s race) measure(ctx context.Context, p plan, r rival) (_ sample, err error) {
	servers, err := startServers(ctx, s.nodes)
	if err != nil {
		return nil, err
	}
	defer servers.stop()
	if s.stopped {
		if err := servers[len(servers)-1].hold(ctx); err != nil {
			return nil, err
		}
	}

	if p.retry == 0 {
		p.retry = retryIdle
		if s.work > 0 {
			p.retry = retryWorking
		}
	}
	p.duration *= time.Duration(max(1, s.stretch))

	lockers, err := openAll(s.clients, func() (Locker, error) { return r.open(servers.addrs(), p.setup) })
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, closeAll(lockers)) }()
	t := &track{race: s}
	var workers []*worker
	for c, locker := range lockers {
		for g := range s.goroutines {
			workers = append(workers, &worker{track: t, locker: locker, name: fmt.Sprintf("key-%d-%d-", c, g)})
		}
	}
	runtime.GC() // what came before shall not be paid for now

	racing, stop := context.WithCancel(ctx)
	defer stop()
	var done sync.WaitGroup
	for _, w := range workers {
		done.Go(func() { w.compete(racing) }) // until the race is over, or stop
	}
	used, took, err := t.watch(ctx, p, servers[0])
	timer := time.AfterFunc(min(grace, p.duration), stop)
	defer timer.Stop()
	if err != nil {
		stop()
	}
	done.Wait()
	if err != nil {
		return nil, err
	}
	return t.sum(workers, r, used, took)
}

// openAll opens n clients, or none.
func openAll(n int, open func() (Locker, error)) ([]Locker, error) {
	var opened []Locker
	for range n {
		l, err := open()
		if err != nil {
			return nil, errors.Join(fmt.Errorf("open a client: %w", err), closeAll(opened))
		}
		opened = append(opened, l)
	}
	return opened, nil
}

func closeAll(lockers []Locker) error {
	var errs []error
	for _, l := range lockers {
		if err := l.Close(); err != nil {
			errs = append(errs, fmt.Errorf("close a client: %w", err))
		}
	}
	return errors.Join(errs...)
}

// watch leads through the phases and returns what the server did for the one
// that counts, and how long that took.
func (t *track) watch(ctx context.Context, p plan, server *server) (used usage, took time.Duration, err error) {
	if err := pause(ctx, p.warmup); err != nil {
		return used, 0, err
	}
	before, err := server.usage(ctx)
	if err != nil {
		return used, 0, err
	}
	start := time.Now()
	t.phase.Store(measuring)
	if err := pause(ctx, p.duration); err != nil {
		return used, 0, err
	}
	t.ended = time.Now()
	t.phase.Store(over)
	after, err := server.usage(ctx)
	return after.since(before), t.ended.Sub(start), err
}

// keysEach is how many keys of its own a worker uses in turn, where keys are distinct. A
// service has most of its keys not for the first time.
const keysEach = 16

// compete runs fn over and over until the race is over.
func (w *worker) compete(ctx context.Context) {
	key := []byte(w.name)
	fn := w.enter
	for i := int64(0); ctx.Err() == nil && w.phase.Load() != over; i++ {
		name := "the-key"
		if w.distinct {
			name = string(strconv.AppendInt(key, i%keysEach, 10))
		}
		w.began, w.ran = time.Now(), false
		err := w.locker.Do(ctx, name, fn)
		switch {
		case ctx.Err() == nil && err == nil && !w.ran:
			err = errors.New("Do returned nil, but did not run the function")
			fallthrough
		case ctx.Err() == nil && err != nil:
			w.failures++
			if w.failure == nil {
				w.failure = err
			}
			_ = pause(ctx, time.Millisecond) // the loop sees if ctx ended
		case !w.ran:
			w.unserved()
		}
	}
}

// enter is the critical section.
func (w *worker) enter(token int64, fenced bool) {
	waited := time.Since(w.began)
	w.ran = true
	phase := w.phase.Load()
	if phase == over {
		w.unserved() // and not judged: a cancelled context may end a lock early
		return
	}
	if !w.distinct {
		w.judge.enter(token, fenced)
		defer w.judge.leave()
	}
	if phase == measuring {
		w.waits.add(waited)
		w.runs++
	}
	if w.work > 0 {
		time.Sleep(w.work)
	}
}

// unserved records a wait that the end of the race cut short, with what it had
// lasted until then: a worker that starved must show.
func (w *worker) unserved() {
	if w.phase.Load() != over {
		return // interrupted
	}
	if d := w.ended.Sub(w.began); d > 0 {
		w.waits.add(d)
	}
}

// sum makes a sample of what the workers have seen.
func (t *track) sum(workers []*worker, rival rival, used usage, took time.Duration) (sample, error) {
	var all histogram
	var errs []error
	runs, failed := 0, 0
	least, most := workers[0].runs, 0
	for _, w := range workers {
		all.merge(&w.waits)
		runs += w.runs
		failed += w.failures
		least, most = min(least, w.runs), max(most, w.runs)
		if w.failure != nil && rival.ours() {
			errs = append(errs, fmt.Errorf("%w: a run failed: %w", errBroken, w.failure))
		}
	}
	if err := t.judge.err(); err != nil {
		errs = append(errs, err)
	}
	s := sample{
		rate:     float64(runs) / took.Seconds(),
		waitP50:  all.quantile(0.50).Seconds(),
		waitP99:  all.quantile(0.99).Seconds(),
		waitMax:  all.max.Seconds(),
		failures: float64(failed),
	}
	if most > 0 {
		s[fairness] = float64(least) / float64(most)
		s[commands] = used.commands / float64(runs)
		s[redisCPU] = used.cpu / float64(runs)
	}
	return s, errors.Join(errs...)
}
