package redislog_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/jobguard/jobguard/guard/journal/record"
	"github.com/jobguard/jobguard/guard/journal/redislog"
	"github.com/jobguard/jobguard/internal/redistest"
)

const long = time.Hour

func intent(id, key string) record.Intent {
	return record.Intent{Record: record.Record{ID: id, Kind: "charge", Key: key, Payload: []byte("p"), Fence: 1_790_000_000_000_000}, MaxOpen: 1 << 30}
}

func begin(t *testing.T, log *redislog.Log, in record.Intent) {
	t.Helper()
	open, err := log.Begin(t.Context(), in)
	must(t, err)
	if len(open) > 0 {
		t.Fatalf("Begin() found %+v", open)
	}
}

func take(t *testing.T, log *redislog.Log, n int) []record.Due {
	t.Helper()
	due, err := log.Take(t.Context(), record.Take{Kinds: []string{"charge"}, Max: n, Lap: long})
	must(t, err)
	return due
}

func claim(t *testing.T, log *redislog.Log, at record.Ref) record.Claim {
	t.Helper()
	c := record.Claim{Ref: at, By: "by-" + at.ID, Fence: 1_800_000_000_000_000, Settled: true, Lap: long}
	claimed, err := log.Claim(t.Context(), c)
	must(t, err)
	if claimed.State != record.Granted {
		t.Fatalf("Claim() = %+v", claimed)
	}
	return c
}

func TestRecordsSurviveARestartOfTheServer(t *testing.T) {
	server := redistest.Start(t, "--appendonly", "yes", "--appendfsync", "always")
	log := redislog.New(server.Client(t))
	begin(t, log, intent("open", "a"))
	begin(t, log, intent("dead", "b"))
	c := claim(t, log, intent("dead", "b").Ref())
	_, err := log.Resolve(t.Context(), record.Verdict{Ref: c.Ref, By: c.By, Result: record.Die})
	must(t, err)
	server.Restart()
	log = redislog.New(server.Client(t))
	if due := take(t, log, 9); len(due) != 1 || due[0].ID != "open" {
		t.Errorf("Take() = %+v after the restart", due)
	}
	s, err := log.Stats(t.Context())
	must(t, err)
	if s.Open != 1 || s.Dead != 1 {
		t.Errorf("Stats() = %+v after the restart", s)
	}
	claim(t, log, intent("open", "a").Ref())
	must(t, log.Requeue(t.Context(), "dead"))
}

func TestScriptsThatTheServerLostAreSentAgain(t *testing.T) {
	server := redistest.Start(t)
	log, admin := redislog.New(server.Client(t)), server.Client(t)
	flush := func() { must(t, admin.ScriptFlush(t.Context()).Err()) }
	flush()
	begin(t, log, intent("x", "k"))
	flush()
	must(t, log.Checkpoint(t.Context(), intent("x", "k").Ref(), 1, []byte("c")))
	flush()
	take(t, log, 1)
	flush()
	c := claim(t, log, intent("x", "k").Ref())
	flush()
	got, err := log.Resolve(t.Context(), record.Verdict{Ref: c.Ref, By: c.By, Result: record.Compensated, Retain: long})
	must(t, err)
	if got != record.Accepted {
		t.Errorf("Resolve() = %d", got)
	}
}

func TestFullMemoryRefusesIntentsAndStoresOutcomes(t *testing.T) {
	server := redistest.Start(t)
	log, admin := redislog.New(server.Client(t)), server.Client(t)
	begin(t, log, intent("done", "a"))
	begin(t, log, intent("crashed", "b"))
	c := claim(t, log, intent("crashed", "b").Ref())
	must(t, admin.ConfigSet(t.Context(), "maxmemory", "1").Err())
	if _, err := log.Begin(t.Context(), intent("refused", "c")); err == nil || !strings.Contains(err.Error(), "OOM") {
		t.Errorf("Begin() = %v, want OOM", err)
	}
	must(t, log.End(t.Context(), record.End{Record: intent("done", "a").Record, Outcome: record.EndDone, Retain: long}))
	_, err := log.Resolve(t.Context(), record.Verdict{Ref: c.Ref, By: c.By, Result: record.Compensated, Retain: long})
	must(t, err)
	must(t, admin.ConfigSet(t.Context(), "maxmemory", "0").Err())
	if s, err := log.Stats(t.Context()); err != nil || s.Open != 0 {
		t.Errorf("Stats() = %+v, %v", s, err)
	}
}

func TestCallReturnsWithItsContextWhateverTheClientsTimeoutsAre(t *testing.T) {
	server := redistest.Start(t)
	log := redislog.New(server.Client(t)) // ContextTimeoutEnabled is off
	begin(t, log, intent("x", "k"))
	server.Pause()
	defer server.Resume()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	start := time.Now()
	_, err := log.Begin(ctx, intent("y", "k"))
	if took := time.Since(start); !errors.Is(err, context.DeadlineExceeded) || took > 2*time.Second {
		t.Errorf("Begin() = %v after %v", err, took)
	}
}

func TestShardsTogetherAreOneLog(t *testing.T) {
	cluster := redistest.StartCluster(t)
	log := redislog.New(cluster.Client(t), redislog.Shards(7))
	const runs = 100
	for i := range runs {
		begin(t, log, intent(fmt.Sprint("id", i), fmt.Sprint("k", i)))
	}
	taken := make(map[string]bool)
	for range runs {
		for _, d := range take(t, log, 10) {
			taken[d.ID] = true
			c := claim(t, log, d.Ref)
			_, err := log.Resolve(t.Context(), record.Verdict{Ref: c.Ref, By: c.By, Result: record.Die})
			must(t, err)
		}
	}
	if len(taken) != runs {
		t.Errorf("%d of %d were taken", len(taken), runs)
	}
	listed := make(map[string]bool)
	for cursor := ""; ; {
		page, next, err := log.Dead(t.Context(), cursor, 9)
		must(t, err)
		for _, r := range page {
			listed[r.ID] = true
		}
		if cursor = next; next == "" {
			break
		}
	}
	if len(listed) != runs {
		t.Errorf("%d of %d dead are listed", len(listed), runs)
	}
	for i := range runs {
		must(t, []func(context.Context, string) error{log.Requeue, log.Drop}[i%2](t.Context(), fmt.Sprint("id", i)))
	}
	if s, err := log.Stats(t.Context()); err != nil || s.Open != runs/2 || s.Dead != 0 {
		t.Errorf("Stats() = %+v, %v", s, err)
	}
	full := intent("one more", "k")
	full.MaxOpen = 7
	if _, err := log.Begin(t.Context(), full); !errors.Is(err, record.ErrFull) {
		t.Errorf("Begin() = %v, want ErrFull", err)
	}
}

// By itself go-redis would ask the dead master for up to a minute.
func TestLogFollowsAFailoverOfItsShard(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t)
	dying := cluster.Master(t, "{0}") // where the only shard is
	replica := cluster.StartReplica(t, dying)
	log := redislog.New(cluster.Client(t))
	begin(t, log, intent("first", "k"))
	dying.Kill()
	began := func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := log.Begin(ctx, intent("second", "k"))
		return err == nil
	}
	for deadline := time.Now().Add(40 * time.Second); !began(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("no record since the master died; the replica: %s", infoOf(t, replica.Client(t), "replication")["role"])
		}
	}
}

func TestDeadRecordsOfOneInstantAreListedOnce(t *testing.T) {
	server := redistest.Start(t)
	log, admin := redislog.New(server.Client(t)), server.Client(t)
	const runs = 60
	for i := range runs {
		in := intent(fmt.Sprintf("id%03d", i), "k")
		begin(t, log, in)
		c := claim(t, log, in.Ref())
		_, err := log.Resolve(t.Context(), record.Verdict{Ref: c.Ref, By: c.By, Result: record.Die})
		must(t, err)
		must(t, admin.ZAdd(t.Context(), "journal:{0}:dead", redis.Z{Score: 1_790_000_000_000_000 + float64(i/30), Member: in.ID}).Err())
	}
	listed := 0
	for cursor := ""; ; {
		page, next, err := log.Dead(t.Context(), cursor, 7)
		must(t, err)
		listed += len(page)
		if cursor = next; next == "" {
			break
		}
	}
	if listed != runs {
		t.Errorf("%d are listed, want %d", listed, runs)
	}
}

func TestFinishedRecordTakesAtMost300Bytes(t *testing.T) {
	for state, finish := range map[string]func(*testing.T, *redislog.Log, record.Intent){
		"done": func(t *testing.T, log *redislog.Log, in record.Intent) {
			must(t, log.End(t.Context(), record.End{Record: in.Record, Outcome: record.EndDone, Retain: long}))
		},
		"compensated": func(t *testing.T, log *redislog.Log, in record.Intent) {
			c := record.Claim{Ref: in.Ref(), By: rand.Text()[:12], Fence: 1_800_000_000_000_000, Settled: true, Lap: long}
			_, err := log.Claim(t.Context(), c)
			must(t, err)
			_, err = log.Resolve(t.Context(), record.Verdict{Ref: c.Ref, By: c.By, Result: record.Compensated, Retain: long})
			must(t, err)
		},
	} {
		t.Run(state, func(t *testing.T) {
			server := redistest.Start(t)
			client := server.Client(t)
			log := redislog.New(client)
			used := func() int {
				n, err := strconv.Atoi(infoOf(t, client, "memory")["used_memory"])
				must(t, err)
				return n
			}
			n := 0
			fill := func(to int) {
				for ; n < to; n++ {
					in := intent(fmt.Sprintf("ABCDEFGHIJKLMNOPQRST%06d", n), fmt.Sprintf("order:0000000000000000000000000000:%06d", n)) // 26 and 40 bytes
					in.Payload = make([]byte, 1000)
					begin(t, log, in)
					finish(t, log, in)
				}
			}
			// Hash tables have powers of two as sizes: a full one costs a record the least, and
			// one that has just grown the most.
			const first, full, grown = 512, 4096, 4096 + 700
			fill(first) // what is there anyway
			before := used()
			for _, records := range []int{full, grown} {
				fill(records)
				per := float64(used()-before) / float64(records-first)
				t.Logf("%.0f bytes a record of %d", per, records)
				if per > 300 {
					t.Errorf("%.0f bytes a finished record of %d, want at most 300", per, records)
				}
			}
			if keys, err := client.Keys(t.Context(), "journal:{0}:[^r]*").Result(); err != nil || len(keys) > 0 {
				t.Errorf("indexes keep %v, %v", keys, err)
			}
		})
	}
}

// With JOBGUARD_JOURNAL_FINISHED=1000000 it is the whole bar; what is finished is in no
// index, so the number hardly matters.
func TestSweepTakesStepsOfAFewMilliseconds(t *testing.T) {
	finished := 20_000
	if s := os.Getenv("JOBGUARD_JOURNAL_FINISHED"); s != "" {
		n, err := strconv.Atoi(s)
		must(t, err)
		finished = n
	}
	const open = 10_000
	server := redistest.Start(t)
	client := server.Client(t)
	log := redislog.New(client)
	fill := redis.NewScript(`for i = ARGV[1], ARGV[2] do
		redis.call('HSET', 'journal:{0}:r:done' .. i, 's', 'd', 'K', 'charge', 'k', 'order:' .. i, 'f', '1790000000000000', 't', '1790000000000000')
		redis.call('PEXPIRE', 'journal:{0}:r:done' .. i, 3600000)
	end`)
	for i := 0; i < finished; i += 10_000 {
		if err := fill.Run(t.Context(), client, []string{"journal:{0}:began"}, i+1, i+10_000).Err(); err != nil && !errors.Is(err, redis.Nil) {
			t.Fatal(err)
		}
	}
	// Redis measures by the clock, which goes on while the machine does something else: of
	// three sweeps the best counts.
	var busy time.Duration
	var step float64
	for round := range 3 {
		busy, step = sweepAll(t, client, log, round, open)
		if busy <= 2*time.Second && step <= 5000 {
			return
		}
	}
	if busy > 2*time.Second {
		t.Errorf("a sweep takes %v of Redis time, want less than 2s", busy)
	}
	if step > 5000 {
		t.Errorf("99 %% of the steps are within %v µs, want 5 ms", step)
	}
}

// sweepAll leaves records open and sweeps them, and returns what that took of Redis's time,
// and how many µs 99 of 100 steps take at most.
func sweepAll(t *testing.T, client *redis.Client, log *redislog.Log, round, open int) (busy time.Duration, step float64) {
	t.Helper()
	for i := range open {
		begin(t, log, intent(fmt.Sprintf("id%d-%d", round, i), fmt.Sprint("k", i)))
	}
	must(t, client.ConfigResetStat(t.Context()).Err())
	swept := 0
	for {
		due := take(t, log, 32)
		if len(due) == 0 {
			break
		}
		for _, d := range due {
			c := claim(t, log, d.Ref)
			_, err := log.Resolve(t.Context(), record.Verdict{Ref: c.Ref, By: c.By, Result: record.Compensated, Retain: long})
			must(t, err)
			swept++
		}
	}
	if swept != open {
		t.Errorf("%d of %d were swept", swept, open)
	}
	commands := infoOf(t, client, "commandstats")
	for _, name := range []string{"evalsha", "hmget"} { // those inside of scripts count in evalsha
		_, usec, _ := strings.Cut(commands["cmdstat_"+name], "usec=")
		usec, _, _ = strings.Cut(usec, ",")
		n, err := strconv.Atoi(usec)
		must(t, err)
		busy += time.Duration(n) * time.Microsecond
	}
	// What the machine interrupts takes longer by the clock: 1 of 100 may. Takes, which find
	// the records, are 3 of 100.
	percentiles := infoOf(t, client, "latencystats")["latency_percentiles_usec_evalsha"]
	_, p99, _ := strings.Cut(percentiles, "p99=")
	p99, _, _ = strings.Cut(p99, ",")
	step, err := strconv.ParseFloat(p99, 64)
	must(t, err)
	t.Logf("%d open: %v of Redis time, steps in µs: %s", open, busy, percentiles)
	if busy == 0 {
		t.Error("Redis has not measured the sweep")
	}
	return busy, step
}

// infoOf returns the fields of a section of INFO.
func infoOf(t *testing.T, client *redis.Client, section string) map[string]string {
	t.Helper()
	info, err := client.Info(t.Context(), section).Result()
	must(t, err)
	fields := make(map[string]string)
	for line := range strings.Lines(info) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		fields[name] = value
	}
	return fields
}

func TestOptionsOutOfBoundsPanic(t *testing.T) {
	client := redistest.Start(t).Client(t)
	for name, misuse := range map[string]func(){
		"nil client": func() { redislog.New(nil) },
		"braces":     func() { redislog.New(client, redislog.Prefix("{a}")) },
		"no shards":  func() { redislog.New(client, redislog.Shards(0)) },
		"nil option": func() { redislog.New(client, nil) },
	} {
		func() {
			defer func() {
				if p, _ := recover().(string); !strings.HasPrefix(p, "redislog: ") {
					t.Errorf("%s: recovered %q", name, p)
				}
			}()
			misuse()
		}()
	}
}
