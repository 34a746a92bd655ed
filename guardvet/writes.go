package guardvet

import (
	"go/types"
	"slices"
	"strings"
)

// redisReads begin the names of commands that change nothing.
var redisReads = []string{
	"Get", "MGet", "HGet", "HMGet", "HKeys", "HVals", "HLen", "HExists", "HScan", "Exists", "TTL", "PTTL", "Type", "Keys", "Scan", "Ping",
	"Info", "Time", "LLen", "LRange", "LIndex", "SMembers", "SIsMember", "SCard", "SScan", "StrLen", "ZCard", "ZCount", "ZRange",
	"ZScore", "ZRank", "ZRevRange", "ZScan", "XLen", "XRange", "XInfo", "XRead", "XPending", "Subscribe", "PSubscribe", "PubSub",
	"ConfigGet", "ClusterInfo", "ClusterSlots", "DBSize", "Do", "Receive", "Wait", "Watch",
}

// redisGetWrites are named like reads.
var redisGetWrites = []string{"GetSet", "GetDel", "GetEx", "HGetDel", "HGetEX", "ZRangeStore", "XReadGroup"}

var sqlWrites = []string{"Exec", "ExecContext", "Begin", "BeginTx", "Commit", "CopyFrom", "SendBatch", "NamedExecContext", "MustExecContext"}

// writes names the store that a call of f changes; "" if it is none, or hardly does.
func writes(f types.Object) string {
	if f == nil || f.Pkg() == nil {
		return ""
	}
	if sig, ok := f.Type().(*types.Signature); !ok || sig.Recv() == nil {
		return ""
	}
	path, name := f.Pkg().Path(), f.Name()
	switch {
	case strings.HasPrefix(path, "github.com/redis/go-redis/"), strings.HasPrefix(path, "github.com/go-redis/redis"):
		read := slices.ContainsFunc(redisReads, func(r string) bool { return strings.HasPrefix(name, r) })
		if !read || slices.Contains(redisGetWrites, name) {
			return "Redis"
		}
	case path == "database/sql", strings.HasPrefix(path, "github.com/jackc/pgx/"), path == "github.com/jmoiron/sqlx":
		if slices.Contains(sqlWrites, name) {
			return "SQL"
		}
	}
	return ""
}
