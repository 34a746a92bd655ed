package main

import "context"

// Locker is one client of a lock on Redis: what one process would have, with
// connections of its own.
type Locker interface {
	// Do waits for key, until ctx ends, and runs fn on the calling goroutine
	// while it is held. With ok, token is the fencing token. The error is nil
	// if fn ran and the lock was released.
	Do(ctx context.Context, key string, fn func(token int64, ok bool)) error
	Close() error
}

// rival is a way to have a lock on Redis.
type rival struct {
	name   string
	module string // whose version is reported; "" for what is written here
	setup  string // how it is configured, and why so
	nodes  int    // over how many independent servers it is; 0: one
	only   string // the one workload it has a turn in; "": all
	open   func(addrs []string, s setup) (Locker, error)
}

// The names that bars refer to.
const (
	nameGuard        = "guard"
	nameAsync        = "guard-async"
	nameJournal      = "guard-journal"
	nameFloor        = "floor"
	nameRelay        = "relay"
	nameRedsync      = "redsync"
	nameRedislock    = "redislock"
	nameRueidislock1 = "rueidislock-1"
	nameRueidislock2 = "rueidislock-2"
	nameQuorum       = "quorum"
	nameRedsync3     = "redsync-3"
)

// ourModule is the module of the rivals that are ours.
const ourModule = "github.com/jobguard/jobguard"

func (r rival) ours() bool { return r.module == ourModule }

// allRivals is guard and its rivals, in the order of their turns.
func allRivals() []rival {
	return []rival{
		guardRival(),
		asyncRival(),
		journalRival(),
		floorRival(),
		relayRival(),
		redsyncRival(),
		redislockRival(),
		rueidislockRival(nameRueidislock1, 1),
		rueidislockRival(nameRueidislock2, 2),
		quorumRival(),
		redsync3Rival(),
	}
}
