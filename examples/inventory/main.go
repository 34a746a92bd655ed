// Inventory shows what a guard is for, on a real database.
//
// Replicas of a shop, each a process of its own, sell tickets to more buyers
// than there are tickets. Selling is what such code always is: look how many are
// left, think for a moment, write one less. The sale is held twice with the very
// same code ([shop.buy]), the second time under guard.Do. The first oversells.
//
// In the second, one replica is really stopped (SIGSTOP) just before it writes,
// and goes on only when its lease has run out and another replica has taken
// over. Nothing inside a process can keep it from writing then: it may be
// stopped after any check that it makes. The database refuses the write, because
// it comes with a lower fencing token than the row has seen.
//
// Run it from the root of the repository; it needs nothing but Go:
//
//	go run ./examples/inventory
//
// With -serve it is a whole application, until Ctrl-C: replicas take orders over HTTP
// (curl -d buyer=1 http://127.0.0.1:8080/skus/show-1/orders; the page names the shows that
// are on sale now, show-1, show-2 and so on), ship them with asynq, reconcile the books by cron, and put
// back what a crash left half sold. A web page on 127.0.0.1:8080 (-listen) shows leases,
// waiters and stock live, and has buttons that stall, kill and cut off replicas, and that
// take the guard away (POST /replicas/1/stall, kill, cut and go-on, POST /guard/off and
// on, for scripts). /metrics is for Prometheus; -v shows the logs, with trace ids:
//
//	go run ./examples/inventory -serve
//
// -redis host:port takes a real Redis in place of the one inside the process,
// under a prefix of its own, and -db postgres://user@host/name PostgreSQL in place of
// SQLite, in schemas of its own; nothing is left behind. The exit code is 0 if
// everything was seen as promised, 1 if not, or if something could not be removed, 2 for
// wrong arguments and 130 after Ctrl-C or when the reader of the output has closed it; with
// -serve 0 after Ctrl-C, once it sells.
//
// Where to look: shop.go is the business code, and replica.go puts the guard around it.
// counter.go guards HTTP, sale.go has the journal and its compensation, fulfil.go the
// tasks, nightly.go the ticks, telemetry.go metrics and traces; branch.go starts and ends
// it all. late.go is the accident. The rest is the stage.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

var (
	errTooLong     = fmt.Errorf("not done after %v: this machine is too busy, or Redis too slow", limit)
	errInterrupted = errors.New("interrupted")
)

func main() {
	// The kernel raises SIGPIPE for a broken socket as for a broken pipe, so the
	// signal does not say that standard output is closed. Ignored, it leaves the
	// error of the write, which output looks at.
	signal.Ignore(syscall.SIGPIPE)
	if script, ok := os.LookupEnv(replicaEnv); ok {
		os.Exit(replicaMain(script))
	}
	os.Exit(stageMain(os.Args[1:], os.Stdout, os.Stderr))
}

func stageMain(args []string, stdout, stderr io.Writer) int {
	o, err := parse(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		printf(stderr, "inventory: %v\n", err)
		return 2
	}

	ctx := context.Background()
	if !o.serve {
		bounded, cancel := context.WithTimeoutCause(ctx, limit, errTooLong)
		defer cancel()
		ctx = bounded
	}
	ctx, interrupt := context.WithCancelCause(ctx)
	defer interrupt(nil)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	if !signal.Ignored(syscall.SIGHUP) { // as nohup has it
		signal.Notify(signals, syscall.SIGHUP)
	}
	go func() { // ends with the process
		<-signals
		signal.Stop(signals) // a second Ctrl-C kills
		interrupt(errInterrupted)
	}()

	out := &output{w: stdout, failed: interrupt}
	var left error
	if o.serve {
		err, left = serve(ctx, o, out, stderr)
	} else {
		err, left = perform(ctx, o, out)
	}
	code := exitCode(ctx, err, stderr)
	if left != nil {
		complain(stderr, fmt.Errorf("something is left behind: %w", left))
		return 1
	}
	return code
}

// exitCode tells why the program ends, on stderr and by its exit code.
func exitCode(ctx context.Context, err error, stderr io.Writer) int {
	cause := context.Cause(ctx)
	if failed := (*outputError)(nil); errors.As(cause, &failed) {
		if errors.Is(failed, syscall.EPIPE) { // the reader has what it wanted
			return 130
		}
		err = failed
	}
	switch {
	case err == nil:
		return 0
	case errors.Is(cause, errInterrupted):
		printf(stderr, "inventory: interrupted\n")
		return 130
	case errors.Is(cause, errTooLong) && !errors.Is(err, errTooLong):
		err = fmt.Errorf("%w: %w", errTooLong, err)
	}
	complain(stderr, err)
	return 1
}

// complain prints an error, of which each line may be one.
func complain(stderr io.Writer, err error) {
	for line := range strings.Lines(err.Error()) {
		printf(stderr, "inventory: %s\n", strings.TrimSpace(line))
	}
}

// printf prints to stderr, or to an output, which looks at errors itself.
func printf(w io.Writer, format string, args ...any) { _, _ = fmt.Fprintf(w, format, args...) }

// options are what the user asked for.
type options struct {
	redis    string // host:port; empty: in this process
	db       string // of a PostgreSQL; empty: SQLite
	items    int
	buyers   int
	replicas int
	verbose  bool
	serve    bool
	listen   string // host:port
	sabotage sabotage
}

// isAddress reports whether a listener can be opened there, as far as that can be seen.
func isAddress(hostPort string) bool {
	_, err := net.ResolveTCPAddr("tcp", hostPort)
	return err == nil && hostPort != ""
}

func parse(args []string, stderr io.Writer) (options, error) {
	var o options
	f := flag.NewFlagSet("inventory", flag.ContinueOnError)
	f.SetOutput(io.Discard) // we print errors ourselves
	f.StringVar(&o.redis, "redis", "", "`host:port` of a Redis server (default: one inside this process)")
	f.StringVar(&o.db, "db", "", "`postgres://…` of a PostgreSQL database (default: SQLite)")
	f.IntVar(&o.items, "items", 100, "tickets to sell, 1 to 500")
	f.IntVar(&o.buyers, "buyers", 400, "buyers, more than tickets, at most 2000; not with -serve")
	f.IntVar(&o.replicas, "replicas", 4, "processes that sell, 2 to 8")
	f.BoolVar(&o.verbose, "v", false, "show the log of the guards")
	f.BoolVar(&o.serve, "serve", false, "sell until Ctrl-C, with a web page to watch and to break things")
	f.StringVar(&o.listen, "listen", "127.0.0.1:8080", "`host:port` of the web page, with -serve")
	if err := f.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			printf(stderr, "Sells tickets without and with a guard; see the package documentation.\n")
			f.SetOutput(stderr)
			f.PrintDefaults()
		}
		return o, err
	}
	given := map[string]bool{}
	f.Visit(func(set *flag.Flag) { given[set.Name] = true })
	var err error
	o.sabotage, err = sabotageFromEnv()
	switch {
	case err != nil:
		return o, err
	case f.NArg() > 0:
		return o, fmt.Errorf("unexpected argument %q", f.Arg(0))
	case o.items < 1 || o.items > 500:
		return o, fmt.Errorf("-items %d: must be 1 to 500", o.items)
	case o.serve && o.sabotage != "":
		return o, errors.New("INVENTORY_SABOTAGE: not with -serve, whose page has buttons")
	case o.serve && given["buyers"]:
		return o, errors.New("-buyers: not with -serve, where they come until Ctrl-C")
	case o.serve && !isAddress(o.listen):
		return o, fmt.Errorf("-listen %q: must be host:port, such as 127.0.0.1:8080", o.listen)
	case !o.serve && given["listen"]:
		return o, errors.New("-listen: only with -serve, which has a page")
	case !o.serve && o.buyers <= o.items:
		return o, fmt.Errorf("-buyers %d: must be more than the %d items, or nothing can be oversold", o.buyers, o.items)
	case o.buyers > 2000:
		return o, fmt.Errorf("-buyers %d: must be at most 2000", o.buyers)
	case o.replicas < 2 || o.replicas > 8:
		return o, fmt.Errorf("-replicas %d: must be 2 to 8", o.replicas)
	case !o.serve && o.buyers < o.replicas:
		return o, fmt.Errorf("-buyers %d: must be at least one for each of the %d replicas", o.buyers, o.replicas)
	}
	if o.db != "" && !isPostgres(o.db) {
		return o, errors.New("-db: must begin with postgres://")
	}
	if o.db != "" && o.sabotage == withoutFence {
		return o, errors.New("INVENTORY_SABOTAGE=fence: works on SQLite only")
	}
	if o.redis != "" {
		host, port, err := net.SplitHostPort(o.redis)
		if err != nil || host == "" || port == "" {
			return o, fmt.Errorf("-redis %q: must be host:port, such as localhost:6379", o.redis)
		}
	}
	return o, nil
}
