// Command jobguard shows who holds which key on Redis, since when and who waits, tells a
// holder to stop, and takes a key back. See docs/operating.md.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/redis/go-redis/v9"
	"github.com/spf13/cobra"

	"github.com/jobguard/jobguard/guard/lease"
	"github.com/jobguard/jobguard/guard/lease/quorum"
	"github.com/jobguard/jobguard/guard/lease/redisstore"
)

// The exit codes.
const (
	exitOK       = 0
	exitFailed   = 1 // the server could not be asked, or refused; doctor: a promise is broken
	exitUsage    = 2 // unknown command, flag or URL
	exitNoAnswer = 3 // revoke: a holder did not answer; show with several servers: no majority agrees
	exitDeclined = 4 // the question was not answered with yes, or the holder was another by then
	exitNobody   = 5 // revoke, break: nobody holds the key
	exitOther    = 6 // revoke, break with --holder: others hold the key
)

const exitCodes = `Exit codes:
  0  done
  1  the server could not be asked, or refused, or the output not written; doctor: a promise is broken
  2  wrong usage
  3  revoke: a holder did not answer; show with several servers: no majority agrees
  4  the question was not answered with yes, or the holder was another by then
  5  revoke, break: nobody holds the key: see its name and --prefix
  6  revoke, break with --holder: others hold the key, and nothing was done`

func main() {
	redis.SetLogger(silence{})
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code) //nolint:gocritic // stop was called
}

// silence is for the log of go-redis: what matters is in the errors that it returns.
type silence struct{}

func (silence) Printf(context.Context, string, ...any) {}

// app is what all commands share.
type app struct {
	urls   []string
	prefix string
	json   bool
	yes    bool
	env    func(string) string
	begun  bool // a command runs: what is wrong from here on is no wrong usage, unless it says so
}

// run is the program, but for the process around it.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	a := &app{env: os.Getenv}
	root := a.root()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	_, _ = fmt.Fprintln(stderr, "jobguard:", err)
	return a.codeOf(err)
}

func (a *app) codeOf(err error) int {
	var u usage
	switch {
	case !a.begun, errors.As(err, &u):
		return exitUsage
	case errors.Is(err, redisstore.ErrNoAnswer), errors.Is(err, quorum.ErrDisagree):
		return exitNoAnswer
	case errors.Is(err, errDeclined), errors.Is(err, errChanged):
		return exitDeclined
	case errors.Is(err, errNobody):
		return exitNobody
	case errors.Is(err, lease.ErrOtherHolder):
		return exitOther
	}
	return exitFailed
}

// usage is wrong usage that a command finds; the others are cobra's.
type usage struct{ error }

var (
	errDeclined = errors.New("not done: the answer was not yes")
	errChanged  = errors.New("not done: the key has another holder by now")
	errNobody   = errors.New("nothing to do")
)

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:           "jobguard",
		Short:         "See who holds which key, and take it back",
		Long:          "See who holds which key on Redis, since when and who waits; tell a holder to stop; take a key back.\n\n" + exitCodes,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	flags := root.PersistentFlags()
	flags.StringArrayVar(&a.urls, "redis", nil, "URL of the server (default $REDIS_URL, then redis://localhost:6379); for a quorum one for each server.\n"+
		"host:port is redis://host:port. "+
		"redis://, rediss://, unix://, redis+sentinel://host:26379/0?master_name=NAME&addr=host2:26379,\nredis+cluster://host:6379?addr=host2:6379; rediss+… with TLS")
	flags.StringVar(&a.prefix, "prefix", "guard:", "prefix of the keys, as redisstore.Prefix")
	flags.BoolVar(&a.json, "json", false, "one JSON value a line, for programs")
	root.AddCommand(a.ls(), a.show(), a.queue(), a.watch(), a.revoke(), a.breakKey(), a.ticks(), a.journal(), a.doctor(), a.man())
	a.noteBegin(root)
	return root
}

// noteBegin has each command below c note that it runs.
func (a *app) noteBegin(c *cobra.Command) {
	if do := c.RunE; do != nil {
		c.RunE = func(c *cobra.Command, args []string) error {
			a.begun = true
			return do(c, args)
		}
	}
	for _, sub := range c.Commands() {
		a.noteBegin(sub)
	}
}
