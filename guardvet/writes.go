package guardvet

import (
	"go/types"
	"slices"
	"strings"
)

// redisReads begin the names of commands that change nothing, unless they end in Store.
var redisReads = []string{
	"Get", "MGet", "HGet", "HMGet", "HKeys", "HVals", "HLen", "HExists", "HScan", "HStrLen", "HRandField", "Exists", "TTL", "PTTL", "HTTL", "HPTTL",
	"ExpireTime", "PExpireTime", "HExpireTime", "HPExpireTime", "Type", "Keys", "RandomKey", "Scan", "Ping", "Echo", "Dump", "Object", "MemoryUsage",
	"Info", "Time", "LLen", "LRange", "LIndex", "LPos", "LCS", "SMembers", "SIsMember", "SMIsMember", "SCard", "SScan", "SRandMember", "SInter", "SDiff",
	"SUnion", "StrLen", "ZCard", "ZCount", "ZLexCount", "ZRange", "ZScore", "ZMScore", "ZRank", "ZRevRange", "ZRevRank", "ZScan", "ZRandMember", "ZInter",
	"ZDiff", "ZUnion", "XLen", "XRange", "XRevRange", "XInfo", "XRead", "XPending", "BitCount", "BitPos", "PFCount", "GeoPos", "GeoDist", "GeoHash",
	"GeoSearch", "Subscribe", "PSubscribe", "SSubscribe", "PubSub", "ConfigGet", "Cluster", "Command", "Client", "SlowLogGet", "DBSize", "LastSave",
	"EvalRO", "EvalShaRO", "FCallRO", "FCallRo", "ScriptExists", "JSONGet", "JSONMGet", "JSONType", "FTSearch", "FTAggregate", "FTInfo", "TSGet", "TSMGet", "TSRange",
	"Do", "Receive", "Wait", "Watch",
}

// redisGetWrites are named like reads.
var redisGetWrites = []string{"GetSet", "GetDel", "GetEx", "HGetDel", "HGetEX", "HGetEXWithArgs", "XReadGroup", "ClusterReplicate", "ClusterMeet", "ClusterFailover"}

// sqlWrites have the method to use in place of one that takes no context; "" if it takes one.
var sqlWrites = map[string]string{
	"Exec": "ExecContext", "Begin": "BeginTx", "NamedExec": "NamedExecContext", "MustExec": "MustExecContext", "Beginx": "BeginTxx", "MustBegin": "BeginTxx",
	"ExecContext": "", "BeginTx": "", "BeginTxx": "", "MustBeginTx": "", "NamedExecContext": "", "MustExecContext": "",
	"Commit": "", "CopyFrom": "", "SendBatch": "", "BeginFunc": "", "BeginTxFunc": "",
}

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
		if !read || strings.HasSuffix(name, "Store") || slices.Contains(redisGetWrites, name) {
			return "Redis"
		}
	case path == "database/sql", strings.HasPrefix(path, "github.com/jackc/pgx/"), path == "github.com/jmoiron/sqlx":
		if _, ok := sqlWrites[name]; ok {
			return "SQL"
		}
	}
	return ""
}
