package chaos

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/jobguard/jobguard/guard/journal"
	"github.com/jobguard/jobguard/guard/sqlfence"
	"github.com/jobguard/jobguard/internal/redistest"
	"github.com/jobguard/jobguard/internal/sqltest"
)

func sqlite(t *testing.T) setup {
	return setup{Driver: "sqlite", Dialect: sqlfence.SQLite, DSN: "file:" + filepath.Join(t.TempDir(), "ledger.db") +
		"?_pragma=busy_timeout(20000)&_pragma=journal_mode(WAL)&_pragma=synchronous(OFF)&_txlock=immediate"}
}

func single(t *testing.T, s setup) setup {
	s.Redis = []string{redistest.Start(t, "--appendonly", "yes").Addr()}
	return s
}

func TestLedgerAddsUpWithTheLogOnRedis(t *testing.T) {
	t.Parallel()
	prove(t, single(t, sqlite(t)))
}

func TestLedgerAddsUpWithTheLogOnACluster(t *testing.T) {
	t.Parallel()
	s := sqlite(t)
	s.Cluster = true
	s.Redis = redistest.StartCluster(t).Addrs()
	prove(t, s)
}

func TestLedgerAddsUpWithTheLogInSQLite(t *testing.T) {
	t.Parallel()
	s := single(t, sqlite(t))
	s.SQL = true
	prove(t, s)
}

func TestLedgerAddsUpWithTheLogInPostgres(t *testing.T) {
	t.Parallel()
	prove(t, single(t, setup{SQL: true, Driver: "pgx", Dialect: sqlfence.Postgres, DSN: sqltest.Postgres(t).DSN}))
}

// prove runs six processes, torments them, and judges.
func prove(t *testing.T, s setup) {
	last, seed, runs := 7*time.Second, fromEnv(t, "JOBGUARD_SEED", 1), int(fromEnv(t, "JOBGUARD_RUNS", 60)) //nolint:gosec // few
	if text := os.Getenv("JOBGUARD_CHAOS"); text != "" {
		d, err := time.ParseDuration(text)
		must(t, err)
		last = d
	}
	t.Logf("seed %d, at least %v and %d runs", seed, last, runs)
	l, j, err := s.open(nil)
	must(t, err)
	t.Cleanup(l.close)
	must(t, l.migrate(t.Context()))
	processes := make([]*process, 6)
	for i := range processes {
		s.Seed = seed<<32 + uint64(i)<<16
		processes[i] = newProcess(t, s, s.Redis)
	}
	chance := rand.New(rand.NewPCG(seed, 99))
	torment(t, processes, chance, last)
	for range 30 + runs/5 { // a busy machine takes longer
		if l.enough(t, runs) {
			break
		}
		torment(t, processes, chance, time.Second)
	}
	l.blackout(t, processes)
	for _, p := range processes {
		must(t, p.stdin.Close())
	}
	settle(t, j)
	l.judge(t, runs)
}

func fromEnv(t *testing.T, name string, otherwise uint64) uint64 {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(text, 10, 64)
	must(t, err)
	return n
}

// enough reports whether so many runs were begun, and enough happened that can be judged.
func (l *ledger) enough(t *testing.T, runs int) bool {
	t.Helper()
	var begun, moved, handled int
	must(t, l.db.QueryRowContext(t.Context(), "SELECT count(DISTINCT run) FROM entries").Scan(&begun))
	must(t, l.db.QueryRowContext(t.Context(), "SELECT count(*) FROM entries WHERE what = 'credit'").Scan(&moved))
	must(t, l.db.QueryRowContext(t.Context(), "SELECT count(*) FROM entries WHERE what = 'handled'").Scan(&handled))
	return begun >= runs && moved >= 50 && handled >= 5
}

// blackout kills all processes at once, until that leaves some runs half done: torment may
// have killed idle ones only.
func (l *ledger) blackout(t *testing.T, processes []*process) {
	t.Helper()
	for half := 0; half < 3; time.Sleep(300 * time.Millisecond) {
		for _, p := range processes {
			p.kill()
		}
		must(t, l.db.QueryRowContext(t.Context(), `SELECT count(DISTINCT run) FROM entries WHERE what IN ('debit', 'reserve')
			AND run NOT IN (SELECT run FROM entries WHERE what IN ('credit', 'handled'))`).Scan(&half))
		for _, p := range processes {
			p.start(t)
		}
		t.Logf("a blackout with %d runs half done", half)
	}
}

// settle waits until no record is open: compensation of the last, whose claimants may
// have been killed, begins after a quarter of a minute.
func settle(t *testing.T, j *journal.Journal) {
	t.Helper()
	for limit := time.Now().Add(3 * time.Minute); ; time.Sleep(100 * time.Millisecond) {
		s, err := j.Stats(t.Context())
		must(t, err)
		if s.Open == 0 && s.Dead == 0 {
			return
		}
		if time.Now().After(limit) {
			t.Fatalf("records are left: %+v", s)
		}
	}
}

// verdict is what the ledger has of a run.
type verdict struct {
	sum                                    map[string]int
	debit, credit, reserve, handled, acked int
}

func (l *ledger) judge(t *testing.T, least int) {
	t.Helper()
	rows, err := l.db.QueryContext(t.Context(), "SELECT run, what, account, cents FROM entries")
	must(t, err)
	defer rows.Close()
	runs, reasons, total := make(map[string]*verdict), make(map[string]int), 0
	for rows.Next() {
		var run string
		var e entry
		must(t, rows.Scan(&run, &e.what, &e.account, &e.cents))
		v := runs[run]
		if v == nil {
			v = &verdict{sum: make(map[string]int)}
			runs[run] = v
		}
		v.sum[e.account] += e.cents
		if e.account != "r" {
			total += e.cents
		}
		switch e.what {
		case "debit":
			v.debit++
		case "credit":
			v.credit++
		case "reserve":
			v.reserve++
		case "acked":
			v.acked++
		case "handled":
			v.handled++
			reasons[e.account]++
		}
	}
	must(t, rows.Err())
	whole, back := 0, 0
	for id, v := range runs {
		switch wrong := v.wrong(l.log != nil); {
		case wrong != "":
			t.Errorf("run %s: %s: %+v", id, wrong, *v)
		case v.handled == 0:
			whole++
		default:
			back++
		}
	}
	if total != 0 {
		t.Errorf("the ledger is off by %d cents", total)
	}
	t.Logf("%d runs: %d whole, %d taken back; handlers by reason: %v", len(runs), whole, back, reasons)
	if len(runs) < least {
		t.Errorf("%d runs, want at least %d", len(runs), least)
	}
	if whole < 20 || back < 5 || reasons["abandoned"] == 0 || reasons["failed"] == 0 {
		t.Error("too little happened to prove anything")
	}
}

// wrong says what is wrong with a run, "" if nothing.
func (v *verdict) wrong(atOnce bool) string {
	moved := v.debit == 1 && v.credit == 1
	switch {
	case v.debit > 1 || v.credit > 1 || v.reserve > 1 || v.acked > 1:
		return "an entry is there twice"
	case v.acked > 0 && v.handled > 0:
		return "Do returned nil, its outcome was stored, and it was taken back"
	case atOnce && moved && v.handled > 0:
		return "its write and Done committed, and it was taken back"
	case v.handled == 0 && !moved:
		return "it was forgotten"
	case v.handled > 0 && (v.sum["a"] != 0 || v.sum["b"] != 0 || v.sum["r"] != 0):
		return "it was taken back in part"
	}
	return ""
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
