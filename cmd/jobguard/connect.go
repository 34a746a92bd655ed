package main

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/jobguard/jobguard/guard/lease"
	"github.com/jobguard/jobguard/guard/lease/quorum"
	"github.com/jobguard/jobguard/guard/lease/redisstore"
)

// server is one Redis, single, behind Sentinel, or a Cluster.
type server struct {
	name   string // without a password
	client redis.UniversalClient
	store  *redisstore.Store
}

// connect returns the servers of --redis, or of REDIS_URL. It does no I/O. end ends them.
func (a *app) connect() (servers []server, end func(), _ error) {
	urls := a.urls
	if len(urls) == 0 {
		urls = []string{cmp.Or(a.env("REDIS_URL"), "redis://localhost:6379")}
	}
	end = func() {
		for _, s := range servers {
			_ = s.client.Close()
		}
	}
	for _, text := range urls {
		client, name, err := open(text)
		if err != nil {
			end()
			return nil, nil, usage{err}
		}
		store, err := storeOver(client, a.prefix)
		servers = append(servers, server{name, client, store})
		if err != nil {
			end()
			return nil, nil, usage{err}
		}
	}
	return servers, end, nil
}

// target is where a key is looked at and orders are given: one server, or a quorum.
type target struct {
	lease.HolderOperator
	servers []server
	quorum  *quorum.Store // nil: one server
}

// connectTo is connect for a command over one server or those of a quorum.
func (a *app) connectTo() (target, func(), error) {
	servers, end, err := a.connect()
	if err != nil {
		return target{}, nil, err
	}
	if len(servers) == 1 {
		return target{servers[0].store, servers, nil}, end, nil
	}
	stores := make([]lease.Store, len(servers))
	for i, s := range servers {
		stores[i] = s.store
	}
	q, err := quorum.New(stores...)
	if err != nil {
		end()
		return target{}, nil, usage{fmt.Errorf("--redis: %w", err)}
	}
	return target{q, servers, q}, end, nil
}

// one is connect for a command over one server.
func (a *app) one() (server, func(), error) {
	servers, end, err := a.connect()
	if err == nil && len(servers) > 1 {
		end()
		return server{}, nil, usage{errors.New("this command takes one --redis: ask one server of a quorum, each knows nearly all")}
	}
	if err != nil {
		return server{}, nil, err
	}
	return servers[0], end, nil
}

// storeOver makes a Store; a prefix that redisstore panics for is wrong usage.
func storeOver(client redis.UniversalClient, prefix string) (_ *redisstore.Store, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("--prefix: %v", r)
		}
	}()
	return redisstore.New(client, redisstore.Prefix(prefix)), nil
}

// open returns a client for a URL, and the URL without its password. Errors do not quote the
// URL either: url.Parse would, password and all.
func open(text string) (redis.UniversalClient, string, error) {
	text, err := asURL(text)
	if err != nil {
		return nil, "", err
	}
	u, err := url.Parse(text)
	switch { // err quotes the URL, or a part of the password as the port
	case err != nil && strings.Contains(text, "@"):
		return nil, "", errors.New("the URL of the server cannot be parsed: in a password / is %2F, @ is %40, % is %25")
	case err != nil:
		return nil, "", errors.New("the URL of the server cannot be parsed: it should be like redis://host:6379, the port a number")
	}
	name := u.Scheme + "://" + u.Host + u.Path
	plain, kind, _ := strings.Cut(u.Scheme, "+")
	u.Scheme = plain
	client, err := dial(kind, u)
	if err != nil {
		return nil, "", fmt.Errorf("the URL of the server %s: %w", name, reason(err))
	}
	return client, name, nil
}

// address is a server without a scheme: host, host:port or :port, perhaps with a number of a database.
var address = regexp.MustCompile(`^(\[[0-9A-Fa-f:.]+\]|[\w.-]+|)(:\d+)?(/\d+)?$`)

// asURL is text with the scheme that it may lack: of an address redis, without TLS, of a path unix.
func asURL(text string) (string, error) {
	switch {
	case text == "":
		return "", errors.New("--redis is empty: it should be like redis://host:6379")
	case strings.Contains(text, "://"):
		return text, nil
	case text[0] == '/':
		return "unix://" + text, nil
	case text[0] == ':':
		text = "localhost" + text
	}
	if !address.MatchString(text) {
		return "", errors.New("the server has no scheme with ://, and is no host:port: it should be like redis://host:6379")
	}
	return "redis://" + text, nil
}

func dial(kind string, u *url.URL) (redis.UniversalClient, error) {
	switch u.Scheme {
	case "redis", "rediss", "unix":
	default:
		return nil, errors.New("unknown scheme: redis, rediss with TLS, or unix")
	}
	plain := u.String()
	switch kind {
	case "":
		o, err := redis.ParseURL(plain)
		if err != nil {
			return nil, err
		}
		if err := login(o.Username, o.Password, "user:password@host"); err != nil {
			return nil, err
		}
		return redis.NewClient(o), nil
	case "sentinel":
		o, err := redis.ParseFailoverURL(plain)
		if err != nil {
			return nil, err
		}
		if o.MasterName == "" {
			return nil, errors.New("it has no ?master_name=")
		}
		if err := login(o.Username, o.Password, "&username=user&password=password; before the @ is the Sentinels' user"); err != nil {
			return nil, err
		}
		return redis.NewFailoverClient(o), nil
	case "cluster":
		o, err := redis.ParseClusterURL(plain)
		if err != nil {
			return nil, err
		}
		o.ContextTimeoutEnabled = true
		if err := login(o.Username, o.Password, "user:password@host"); err != nil {
			return nil, err
		}
		return redis.NewClusterClient(o), nil
	}
	return nil, fmt.Errorf("unknown kind +%s: sentinel or cluster", kind)
}

// login is an error for a user without a password: go-redis v9.23 does not log in at all then.
func login(user, password, write string) error {
	if user != "" && password == "" {
		return fmt.Errorf("it has a user without a password, and would act as the default user: write %s", write)
	}
	return nil
}

// reason is err without the URL that it quotes.
func reason(err error) error {
	var quoting *url.Error
	if errors.As(err, &quoting) {
		err = quoting.Err
	}
	return err
}
