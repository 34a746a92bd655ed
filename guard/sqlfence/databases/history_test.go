package databases

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jobguard/jobguard/guard/sqlfence"
	"github.com/jobguard/jobguard/internal/testserver"
)

const (
	workerEnv = "JOBGUARD_SQLFENCE_WORKER" // product, level, whether to seal, seed, DSN
	workers   = 8
	workTime  = 1000 * time.Millisecond
)

// Eight processes write to one resource with tokens that are up to 50 ms old, in random
// order, and are stopped at random moments for longer than that, also while they hold the
// row. The history of the resource never has a lower token after a higher one. Without
// Seal it has: the test can tell.
func TestHistoryHasNoLowerTokenAfterAHigher(t *testing.T) {
	for _, run := range []struct {
		product product
		level   sql.IsolationLevel
		without bool // see too what happens without Seal
	}{
		{products[0], sql.LevelReadCommitted, true},
		{products[0], sql.LevelSerializable, false},
		{products[1], sql.LevelReadCommitted, false},
		{products[1], sql.LevelRepeatableRead, true},
		{products[2], sql.LevelDefault, true},
	} {
		t.Run(run.product.name+" "+run.level.String(), func(t *testing.T) {
			t.Parallel()
			with := fight(t, run.product, run.level, true)
			t.Logf("with Seal: %v", with)
			if with.lower != 0 {
				t.Errorf("%d lower tokens after a higher one", with.lower)
			}
			if with.written == 0 || with.stale == 0 || with.failed != 0 {
				t.Error("want runs that wrote and runs that were refused, and no other error")
			}
			if !run.without {
				return
			}
			without := fight(t, run.product, run.level, false)
			t.Logf("without: %v", without)
			if without.failed != 0 {
				t.Error("runs without Seal failed")
			}
			if without.lower == 0 {
				t.Error("without Seal there was no lower token after a higher one either")
			}
		})
	}
}

// outcome is what came of a fight.
type outcome struct{ written, stale, again, failed, lower int }

func (o outcome) String() string {
	return fmt.Sprintf("%d writes, %d refused, %d begun again, %d lower tokens after a higher", o.written, o.stale, o.again, o.lower)
}

// fight lets the processes write and judges the history.
func fight(t *testing.T, p product, level sql.IsolationLevel, seals bool) (all outcome) {
	t.Helper()
	dsn := p.dsn(t)
	db := open(t, p.driver, dsn)
	must(t, newFence(t, p.dialect).Migrate(t.Context(), db))
	statements(t, db, "CREATE TABLE resource (n bigint NOT NULL)", "INSERT INTO resource VALUES (0)",
		"CREATE TABLE history (n bigint NOT NULL PRIMARY KEY, token bigint NOT NULL)")

	var processes []*exec.Cmd
	outputs := make([]strings.Builder, workers)
	for i := range workers {
		worker := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestWorker$")
		worker.Env = append(os.Environ(), fmt.Sprintf("%s=%s %d %t %d %s", workerEnv, p.name, level, seals, i, dsn), "GOMAXPROCS=1")
		worker.Stdout, worker.Stderr = &outputs[i], &outputs[i]
		must(t, worker.Start())
		processes = append(processes, worker)
	}
	var wg sync.WaitGroup // its goroutines end with their processes
	for i, worker := range processes {
		ended := make(chan struct{})
		wg.Go(func() { stall(t, worker.Process, uint64(i), ended) })
		wg.Go(func() {
			defer close(ended)
			if err := worker.Wait(); err != nil {
				t.Errorf("a worker: %v: %s", err, outputs[i].String())
			}
		})
	}
	wg.Wait()
	for i := range outputs {
		var o outcome
		_, line, _ := strings.Cut(outputs[i].String(), "outcome")
		if _, err := fmt.Sscan(line, &o.written, &o.stale, &o.again, &o.failed); err != nil {
			t.Fatalf("a worker's output: %v: %s", err, outputs[i].String())
		}
		if o.failed > 0 {
			t.Log(outputs[i].String())
		}
		all.written, all.stale, all.again, all.failed = all.written+o.written, all.stale+o.stale, all.again+o.again, all.failed+o.failed
	}
	all.lower = inversions(t, db, all.written)
	return all
}

// stall stops and resumes a process until it ends.
func stall(t *testing.T, p *os.Process, seed uint64, ended <-chan struct{}) {
	random := rand.New(rand.NewPCG(seed, 1))
	for {
		select {
		case <-ended:
			return
		case <-time.After(time.Duration(100+random.IntN(400)) * time.Millisecond):
		}
		if testserver.Suspend(p) != nil {
			continue // it is about to end
		}
		time.Sleep(time.Duration(60+random.IntN(100)) * time.Millisecond)
		if err := testserver.Resume(p); err != nil {
			t.Error(err)
		}
	}
}

// inversions counts the lower tokens right after a higher one.
func inversions(t *testing.T, db *sql.DB, written int) (lower int) {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), "SELECT token FROM history ORDER BY n")
	must(t, err)
	defer rows.Close()
	n, last := 0, int64(0)
	for ; rows.Next(); n++ {
		var token int64
		must(t, rows.Scan(&token))
		if token < last {
			lower++
		}
		last = token
	}
	must(t, rows.Err())
	if n != written {
		t.Errorf("the history has %d writes, %d were committed", n, written)
	}
	return lower
}

// TestWorker is one of the processes of a fight, and nothing otherwise.
func TestWorker(t *testing.T) {
	words := strings.SplitN(os.Getenv(workerEnv), " ", 5)
	if len(words) < 5 {
		return
	}
	var w worker
	for _, p := range products {
		if p.name == words[0] {
			w.db, w.fence = open(t, p.driver, words[4]), newFence(t, p.dialect)
		}
	}
	level, err := strconv.Atoi(words[1])
	must(t, err)
	seed, err := strconv.ParseUint(words[3], 10, 64)
	must(t, err)
	w.level, w.seals = sql.IsolationLevel(level), words[2] == "true"
	random := rand.New(rand.NewPCG(seed, 2))
	for end := time.Now().Add(workTime); time.Now().Before(end); {
		token := time.Now().UnixMicro() - random.Int64N(50_000)
		must(t, withToken(t.Context(), t, token, func(ctx context.Context) error {
			w.work(ctx, token)
			return nil
		}))
	}
	fmt.Println("\noutcome", w.written, w.stale, w.again, w.failed)
}

type worker struct {
	outcome
	db    *sql.DB
	fence *sqlfence.Fence
	level sql.IsolationLevel
	seals bool
}

// work writes once, if it may.
func (w *worker) work(ctx context.Context, token int64) {
	for {
		err := w.write(ctx, token)
		switch {
		case err == nil:
			w.written++
		case errors.Is(err, sqlfence.ErrStale):
			w.stale++
		case retryable(err):
			w.again++
			continue
		default:
			w.failed++
			fmt.Println(err)
		}
		return
	}
}

func (w *worker) write(ctx context.Context, token int64) error {
	tx, err := w.db.BeginTx(ctx, &sql.TxOptions{Isolation: w.level})
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // it may have ended
	if w.seals {
		if err := w.fence.Seal(ctx, tx, "resource"); err != nil {
			return err
		}
	}
	if _, err := tx.ExecContext(ctx, "UPDATE resource SET n = n + 1"); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, fmt.Sprintf("INSERT INTO history SELECT n, %d FROM resource", token)); err != nil {
		return err
	}
	return tx.Commit()
}
