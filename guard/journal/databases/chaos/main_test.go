package chaos

import (
	"context"
	"database/sql"
	"encoding/json"
	"log/slog"
	"net"
	"os"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"
	_ "modernc.org/sqlite"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/journal"
	"github.com/jobguard/jobguard/guard/journal/redislog"
	"github.com/jobguard/jobguard/guard/journal/sqllog"
	"github.com/jobguard/jobguard/guard/lease/redisstore"
	"github.com/jobguard/jobguard/guard/sqlfence"
	"github.com/jobguard/jobguard/internal/sqltest"
)

const setupEnv = "JOBGUARD_CHAOS_WORKER"

func TestMain(m *testing.M) {
	if text := os.Getenv(setupEnv); text != "" {
		var s setup
		if err := json.Unmarshal([]byte(text), &s); err != nil {
			panic(err)
		}
		redis.SetLogger(quiet{}) // it says what was cut
		slog.SetDefault(slog.New(slog.DiscardHandler))
		work(s)
		return
	}
	goleak.VerifyTestMain(sqltest.Main(m))
}

type quiet struct{}

func (quiet) Printf(context.Context, string, ...any) {}

// setup is what a process needs to know.
type setup struct {
	Cluster bool
	Redis   []string          // host:port
	Via     map[string]string // proxies by the address they lead to
	SQL     bool              // the log is in the ledger's database
	Driver  string
	Dialect sqlfence.Dialect
	DSN     string // of the ledger
	Seed    uint64
}

func (s setup) client() redis.UniversalClient {
	dial := func(ctx context.Context, network, addr string) (net.Conn, error) {
		if via, ok := s.Via[addr]; ok {
			addr = via
		}
		var d net.Dialer
		return d.DialContext(ctx, network, addr)
	}
	if s.Cluster {
		return redis.NewClusterClient(&redis.ClusterOptions{Addrs: s.Redis, Dialer: dial, ContextTimeoutEnabled: true})
	}
	return redis.NewClient(&redis.Options{Addr: s.Redis[0], Dialer: dial, ContextTimeoutEnabled: true})
}

const ttl = time.Second

// open makes the ledger and the journal of a process. Both close with it.
func (s setup) open(observer journal.Observer) (*ledger, *journal.Journal, error) {
	db, err := sql.Open(s.Driver, s.DSN)
	if err != nil {
		return nil, nil, err
	}
	l := &ledger{db: db, setup: s}
	if l.fence, err = sqlfence.New(s.Dialect); err != nil {
		return nil, nil, err
	}
	client := s.client()
	g, err := guard.New(redisstore.New(client), guard.TTL(ttl), guard.Wait(2*time.Second))
	if err != nil {
		return nil, nil, err
	}
	var log journal.Log = redislog.New(client)
	if s.SQL {
		inSQL, err := sqllog.New(db, s.Dialect)
		if err != nil {
			return nil, nil, err
		}
		l.log, log = inSQL, inSQL
	}
	opts := []journal.Option{journal.MaxAttempts(1000)}
	if observer != nil {
		opts = append(opts, journal.Observe(observer))
	}
	j, err := journal.New(g, log, opts...)
	l.close = func() { _ = client.Close(); _ = db.Close() } // nothing goes on
	return l, j, err
}
