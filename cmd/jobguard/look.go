package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/jobguard/jobguard/guard/lease/redisstore"
)

func (a *app) ls() *cobra.Command {
	return &cobra.Command{
		Use:   "ls [PATTERN]",
		Short: "List the keys that are held",
		Long:  "List the keys that are held and whose names match a glob pattern, in the server's order.",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			s, end, err := a.one()
			if err != nil {
				return err
			}
			defer end()
			pattern := ""
			if len(args) > 0 {
				pattern = args[0]
			}
			t := newTable(c.OutOrStdout(), "KEY", "MODE", "HOLDER", "REMAINING", "WAIT")
			for i, err := range s.store.List(c.Context(), pattern) {
				if err != nil {
					_ = t.end() // the error counts
					return failure{err}
				}
				if a.json {
					err = printJSON(c.OutOrStdout(), forPrograms("", i))
				} else {
					err = t.row(keyRow(i)...)
				}
				if err != nil {
					return failure{err}
				}
			}
			return t.end()
		},
	}
}

func (a *app) show() *cobra.Command {
	return &cobra.Command{
		Use:   "show KEY",
		Short: "Show the holders and the queue of a key",
		Long: "Show the holders and the queue of a key, and the last tick if it is that of a cron job.\n" +
			"With several --redis, the servers of a quorum: what each has, and whether they agree.",
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			servers, end, err := a.connect()
			if err != nil {
				return err
			}
			defer end()
			if len(servers) > 1 {
				return a.showNodes(c, servers, args[0])
			}
			i, err := servers[0].store.Inspect(c.Context(), args[0])
			if err != nil {
				return failure{err}
			}
			if a.json {
				return printJSON(c.OutOrStdout(), forPrograms("", i))
			}
			if err := describe(c.OutOrStdout(), i); err != nil {
				return err
			}
			tick, err := servers[0].store.LastTick(c.Context(), args[0])
			if err == nil && !tick.At.IsZero() {
				_, _ = fmt.Fprintf(c.OutOrStdout(), "last tick  %s  %s\n", tick.At.Format(time.RFC3339), tickState(tick))
			}
			return nil
		},
	}
}

// describe writes all that is known of a key.
func describe(w io.Writer, i redisstore.Inspection) error {
	_, _ = fmt.Fprintf(w, "%s  %s", shown(i.Key), mode(i))
	if i.LastToken > 0 {
		_, _ = fmt.Fprintf(w, "  tokens up to %d", i.LastToken)
	}
	_, _ = fmt.Fprintln(w)
	holders := newTable(w, "HOLDER", "PROCESS", "REMAINING", "METADATA")
	for _, h := range i.Holders {
		if err := holders.row(h.Owner, dash(h.Process), remaining(h.Remaining), dash(h.Metadata)); err != nil {
			return failure{err}
		}
	}
	if err := holders.end(); err != nil {
		return failure{err}
	}
	return queueTable(w, i)
}

func queueTable(w io.Writer, i redisstore.Inspection) error {
	queue := newTable(w, "PLACE", "WAITER", "PROCESS", "WAITED")
	for n, x := range i.Queue {
		if err := queue.row(fmt.Sprint(n+1), x.Owner, dash(x.Process), short(x.Waited)); err != nil {
			return failure{err}
		}
	}
	if err := queue.end(); err != nil {
		return failure{err}
	}
	return nil
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func (a *app) queue() *cobra.Command {
	return &cobra.Command{
		Use:   "queue KEY",
		Short: "Show who waits for a key, in order",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			s, end, err := a.one()
			if err != nil {
				return err
			}
			defer end()
			i, err := s.store.Inspect(c.Context(), args[0])
			if err != nil {
				return failure{err}
			}
			if !a.json {
				return queueTable(c.OutOrStdout(), i)
			}
			for _, w := range forPrograms("", i).Queue {
				if err := printJSON(c.OutOrStdout(), w); err != nil {
					return failure{err}
				}
			}
			return nil
		},
	}
}

// showNodes shows what each server of a quorum has.
func (a *app) showNodes(c *cobra.Command, servers []server, key string) error {
	votes := make(map[string]int)
	t := newTable(c.OutOrStdout(), "SERVER", "MODE", "HOLDER", "REMAINING", "WAIT")
	for _, s := range servers {
		i, err := inspectWithin(c.Context(), s, key)
		switch {
		case err != nil && a.json:
			err = printJSON(c.OutOrStdout(), map[string]string{"server": s.name, "error": err.Error()})
		case err != nil:
			err = t.row(s.name, "error", err.Error(), "-", "-")
		default:
			votes[vote(i)]++
			if a.json {
				err = printJSON(c.OutOrStdout(), forPrograms(s.name, i))
			} else {
				err = t.row(append([]string{s.name}, keyRow(i)[1:]...)...)
			}
		}
		if err != nil {
			return failure{err}
		}
	}
	if err := t.end(); err != nil {
		return failure{err}
	}
	most, n := "", 0
	for v, count := range votes {
		if count > n || count == n && v < most {
			most, n = v, count
		}
	}
	verdict := fmt.Sprintf("%d of %d servers agree: %s", n, len(servers), most)
	if n <= len(servers)/2 {
		return failure{fmt.Errorf("%w: %s", errDisagree, verdict)}
	}
	if a.json {
		return printJSON(c.OutOrStdout(), map[string]any{"key": key, "agree": n, "servers": len(servers), "verdict": most})
	}
	_, _ = fmt.Fprintln(c.OutOrStdout(), verdict)
	return nil
}

// inspectWithin gives up a server that does not answer for 5 s.
func inspectWithin(ctx context.Context, s server, key string) (redisstore.Inspection, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	return s.store.Inspect(ctx, key)
}

// vote is what a server says of a key. Process ids differ from server to server.
func vote(i redisstore.Inspection) string {
	text := mode(i)
	for _, h := range i.Holders {
		text += " " + h.Owner
		if h.Metadata != "" {
			text += " (" + h.Metadata + ")"
		}
	}
	return text
}
