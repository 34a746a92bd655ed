package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"runtime/pprof"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9/logging"
)

func main() {
	if addr := os.Getenv(pingEnv); addr != "" {
		if err := ping(addr, os.Stdin, os.Stdout, os.Stderr); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(1)
		}
		return
	}
	// A broken pipe is then the error of a write, and servers are stopped as after
	// any other error.
	signal.Ignore(syscall.SIGPIPE)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := command(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	switch {
	case err == nil || errors.Is(err, flag.ErrHelp):
	default:
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// command runs what args ask for, prints the report to out and what it is doing
// to progress. Servers that it started are gone when it returns.
func command(ctx context.Context, args []string, out, progress io.Writer) error {
	logging.Disable() // connections break at the end of every measurement

	p, files, err := parse(args, progress)
	if err != nil {
		return err
	}
	if files.profile != "" {
		stop, err := startProfile(files.profile)
		if err != nil {
			return err
		}
		defer stop()
	}
	m := thisMachine()
	tell := func(line string) { _, _ = fmt.Fprintln(progress, line) } // progress is not needed for the result
	r, err := p.run(ctx, tell)
	if err != nil {
		return err
	}
	text := report(m, p, r)
	if _, err := io.WriteString(out, text); err != nil {
		return fmt.Errorf("print the report: %w", err)
	}
	if broken := r.broken(); broken != nil {
		return broken // and nothing is written: figures of a broken lock are void
	}
	if files.report != "" {
		if err := os.WriteFile(files.report, []byte(text), 0o644); err != nil { //nolint:gosec // results are for all to read
			return fmt.Errorf("write the results: %w", err)
		}
		tell("written to " + files.report)
	}
	if !files.gate {
		return nil
	}
	list, err := gate(r)
	tell(list)
	return err
}

// outputs are what a run makes besides the report on stdout.
type outputs struct {
	report, profile string // names of files; "" for none
	gate            bool   // judge by the bars
}

// parse turns the command line into a plan and outputs.
func parse(args []string, usage io.Writer) (p plan, files outputs, err error) {
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.SetOutput(usage)
	quick := f.Bool("quick", false, "fewer and shorter rounds, less than a minute in all; rough figures")
	rounds := f.Int("rounds", 0, "how many rounds (default 5; quick: 2)")
	duration := f.Duration("duration", 0, "how long a measurement takes (default 2s; quick: 120ms)")
	only := f.String("only", "", "only workloads whose name matches this `regexp`")
	rivals := f.String("rivals", "", "only rivals whose name matches this `regexp`")
	retry := f.Duration("retry", 0, "how long a rival that polls pauses between two tries for a key that is held (default: 20ms, with work 5ms)")
	pool := f.Int("pool", 0, "PoolSize of all go-redis clients (default: go-redis's own)")
	leases := f.Int("leases", 0, "how many leases the workload of that name holds (default 100000; quick: 10000)")
	leaseTTL := f.Duration("lease-ttl", 0, "their TTL (default 30s; quick: 6s)")
	leaseHold := f.Duration("lease-hold", 0, "for how long they are held (default 2m; quick: 15s)")
	f.StringVar(&files.report, "o", "", "write the report to this `file` too")
	f.StringVar(&files.profile, "cpuprofile", "", "write a CPU profile of this process to this `file`")
	f.BoolVar(&files.gate, "gate", false, "fail if a bar that was measured is missed")
	if err := f.Parse(args); err != nil {
		return p, files, err
	}
	if f.NArg() > 0 {
		return p, files, fmt.Errorf("unexpected argument %q", f.Arg(0))
	}

	p = fullPlan()
	if *quick {
		p = quickPlan()
	}
	if *rounds != 0 {
		p.rounds = *rounds
	}
	if *duration != 0 {
		p.duration = *duration
	}
	p.leases = cmp.Or(*leases, p.leases)
	p.leaseTTL = cmp.Or(*leaseTTL, p.leaseTTL)
	p.leaseHold = cmp.Or(*leaseHold, p.leaseHold)
	p.retry, p.pool = *retry, *pool
	if p.leases < 1 || p.leaseTTL < time.Second || p.leaseHold < p.leaseTTL {
		return p, files, errors.New("-leases must be at least 1, -lease-ttl 1s, and -lease-hold at least the TTL: else nothing is renewed")
	}
	if p.rounds < 1 || p.duration < time.Millisecond || p.retry < 0 || p.pool < 0 {
		return p, files, errors.New("-rounds must be at least 1, -duration 1ms, -retry and -pool not negative")
	}
	if p.workloads, err = chosen(workloads(), *only, func(w workload) string { return w.name }); err != nil {
		return p, files, fmt.Errorf("-only: %w", err)
	}
	if p.rivals, err = chosen(allRivals(), *rivals, func(r rival) string { return r.name }); err != nil {
		return p, files, fmt.Errorf("-rivals: %w", err)
	}
	return p, files, nil
}

// chosen returns those of all whose name matches pattern, at least one.
func chosen[T any](all []T, pattern string, name func(T) string) ([]T, error) {
	re, err := regexp.Compile(pattern)
	if err != nil {
		return nil, err
	}
	var some []T
	for _, t := range all {
		if re.MatchString(name(t)) {
			some = append(some, t)
		}
	}
	if some == nil {
		return nil, fmt.Errorf("nothing matches %q", pattern)
	}
	return some, nil
}

func startProfile(file string) (stop func(), err error) {
	f, err := os.Create(file)
	if err != nil {
		return nil, fmt.Errorf("create the profile: %w", err)
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, errors.Join(fmt.Errorf("start the profile: %w", err), f.Close())
	}
	return func() {
		pprof.StopCPUProfile()
		_ = f.Close() // a profile cut short shows when it is opened
	}, nil
}
