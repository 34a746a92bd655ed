package chaos

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"sync"
	"time"

	"github.com/jobguard/jobguard/guard/journal"
	"github.com/jobguard/jobguard/guard/journal/record"
	"github.com/jobguard/jobguard/guard/journal/sqllog"
)

const (
	movers = 4 // goroutines of a process
	keys   = 16
)

// work is a process: it moves money until its stdin closes, and sweeps until it is killed.
func work(s setup) {
	var open unstored
	l, j, err := s.open(&open)
	if err != nil {
		panic(err)
	}
	j.Handle("move", func(ctx context.Context, r journal.Record) error {
		return l.sealed(ctx, r.Key, func(tx *sql.Tx) error { return l.undo(ctx, tx, r.ID, string(r.Reason)) })
	})
	ctx, stop := context.WithCancel(context.Background())
	for i := range movers {
		chance := rand.New(rand.NewPCG(s.Seed, uint64(i)))
		go func() {
			for ctx.Err() == nil {
				l.move(ctx, j, chance, &open)
			}
		}()
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // until the parent closes it
		stop()
	}()
	fmt.Println("ready")
	fmt.Println(j.Run(context.Background()))
}

var errChance = errors.New("failed by chance")

// move is one run: a debit and a credit, with what can go wrong between them.
func (l *ledger) move(ctx context.Context, j *journal.Journal, chance *rand.Rand, open *unstored) {
	key := fmt.Sprint("account:", chance.IntN(keys))
	cents, fate, pause := 1+chance.IntN(10_000), chance.IntN(10), time.Duration(chance.IntN(30))*time.Millisecond
	if chance.IntN(40) == 0 {
		pause = 1500 * time.Millisecond // longer than the TTL
	}
	var id string
	err := j.Do(ctx, key, journal.Op{Kind: "move", Payload: fmt.Append(nil, cents)}, func(ctx context.Context) error {
		id = record.RunOf(ctx).ID
		if fate < 5 {
			ctx = context.WithoutCancel(ctx) // deaf: only the fence stops it
		}
		if l.log != nil {
			return l.moveAtOnce(ctx, key, id, cents, fate, pause)
		}
		return l.moveInSteps(ctx, key, id, cents, fate, pause)
	})
	if err == nil && !open.has(id) {
		_ = l.add(context.Background(), l.db, id, entry{"acked", "", 0}) // one more is checked if it is there
	}
}

// moveInSteps has no transaction around both writes.
func (l *ledger) moveInSteps(ctx context.Context, key, id string, cents, fate int, pause time.Duration) error {
	if err := l.sealed(ctx, key, func(tx *sql.Tx) error { return l.add(ctx, tx, id, entry{"debit", "a", -cents}) }); err != nil {
		return err
	}
	time.Sleep(pause)
	if fate == 9 {
		return errChance
	}
	return l.sealed(ctx, key, func(tx *sql.Tx) error { return l.add(ctx, tx, id, entry{"credit", "b", cents}) })
}

// moveAtOnce marks the run done with its writes. What it reserves before is undone if it
// does not get there.
func (l *ledger) moveAtOnce(ctx context.Context, key, id string, cents, fate int, pause time.Duration) error {
	if err := l.sealed(ctx, key, func(tx *sql.Tx) error { return l.add(ctx, tx, id, entry{"reserve", "r", cents}) }); err != nil {
		return err
	}
	time.Sleep(pause)
	err := l.in(ctx, func(tx *sql.Tx) error { return sqllog.Done(ctx, tx) }, func(tx *sql.Tx) error {
		if fate == 9 {
			return errChance
		}
		return l.add(ctx, tx, id, entry{"debit", "a", -cents}, entry{"credit", "b", cents})
	})
	if fate == 8 && err == nil {
		return errChance // it is done all the same
	}
	return err
}

// unstored knows the runs whose outcome could not be stored: Do returns nil for them, and
// they are compensated.
type unstored struct {
	mu  sync.Mutex
	ids map[string]bool
}

// Happened implements journal.Observer.
func (u *unstored) Happened(_ context.Context, e journal.Event) {
	if e.Kind != journal.EventUnstored {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.ids == nil {
		u.ids = make(map[string]bool)
	}
	u.ids[e.Record.ID] = true
}

func (u *unstored) has(id string) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.ids[id]
}
