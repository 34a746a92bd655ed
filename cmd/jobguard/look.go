package main

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/jobguard/jobguard/guard/lease/quorum"
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
			keys := 0
			for i, err := range s.store.List(c.Context(), pattern) {
				if err != nil {
					_ = t.end() // the error counts
					return err
				}
				keys++
				if a.json {
					err = printJSON(c.OutOrStdout(), forPrograms(i))
				} else {
					err = t.row(keyRow(i)...)
				}
				if err != nil {
					return err
				}
			}
			if err := t.end(); err != nil || keys > 0 {
				return err
			}
			a.note(c, "no key is held", pattern)
			return nil
		},
	}
}

// note says on stderr that there is nothing to list, and where it was looked for.
func (a *app) note(c *cobra.Command, nothing, pattern string) {
	if pattern != "" {
		nothing += fmt.Sprintf(" that matches %q", pattern)
	}
	_, _ = fmt.Fprintf(c.ErrOrStderr(), "jobguard: %s under the prefix %q\n", nothing, a.prefix)
}

func (a *app) show() *cobra.Command {
	return &cobra.Command{
		Use:   "show KEY",
		Short: "Show the holders and the queue of a key",
		Long: "Show the holders and the queue of a key, and the last tick if it is that of a cron job.\n" +
			"With several --redis, the servers of a quorum: what each has, and whether they agree.",
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			t, end, err := a.connectTo()
			if err != nil {
				return err
			}
			defer end()
			if t.quorum != nil {
				return a.showNodes(c, t, args[0])
			}
			i, err := t.Inspect(c.Context(), args[0])
			if err != nil {
				return err
			}
			tick, err := t.servers[0].store.LastTick(c.Context(), args[0])
			if err != nil {
				return err
			}
			if a.json {
				shown := forPrograms(i)
				if !tick.At.IsZero() {
					shown.LastTick = tickForPrograms(args[0], tick)
				}
				return printJSON(c.OutOrStdout(), shown)
			}
			if err := describe(c.OutOrStdout(), i); err != nil || tick.At.IsZero() {
				return err
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), "last tick  %s  %s\n", tick.At.Format(time.RFC3339), tickState(tick))
			return err
		},
	}
}

// describe writes all that is known of a key.
func describe(w io.Writer, i redisstore.Inspection) error {
	tokens := ""
	if i.LastToken > 0 {
		tokens = fmt.Sprintf("  tokens up to %d", i.LastToken)
	}
	if _, err := fmt.Fprintf(w, "%s  %s%s\n", shown(i.Key), mode(i), tokens); err != nil {
		return err
	}
	holders := newTable(w, "HOLDER", "ID", "REMAINING", "METADATA")
	for _, h := range i.Holders {
		if err := holders.row(visible(h.Owner), idOf(h), remaining(h.Remaining), dash(h.Metadata)); err != nil {
			return err
		}
	}
	if err := holders.end(); err != nil {
		return err
	}
	return queueTable(w, i)
}

// idOf is what --holder takes; a name that another program wrote stands beside it already.
func idOf(h redisstore.Holder) string {
	if h.Process == "" {
		return "-"
	}
	return visible(h.ShortID())
}

func queueTable(w io.Writer, i redisstore.Inspection) error {
	queue := newTable(w, "PLACE", "WAITER", "PROCESS", "WAITED")
	for n, x := range i.Queue {
		if err := queue.row(fmt.Sprint(n+1), visible(x.Owner), dash(x.Process), short(x.Waited)); err != nil {
			return err
		}
	}
	return queue.end()
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return visible(s)
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
				return err
			}
			if !a.json {
				return queueTable(c.OutOrStdout(), i)
			}
			for _, w := range forPrograms(i).Queue {
				if err := printJSON(c.OutOrStdout(), w); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

// nodesJSON is what the servers of a quorum say of a key.
type nodesJSON struct {
	Key     string     `json:"key"`
	Servers int        `json:"servers"`
	Agree   int        `json:"agree"`
	Agreed  bool       `json:"agreed"`
	Verdict *keyJSON   `json:"verdict,omitempty"`
	Nodes   []nodeJSON `json:"nodes"`
}

type nodeJSON struct {
	Server string   `json:"server"`
	Error  string   `json:"error,omitempty"`
	Has    *keyJSON `json:"has,omitempty"`
}

// showNodes shows what each server of a quorum has, and whether they agree.
func (a *app) showNodes(c *cobra.Command, t target, key string) error {
	n, err := t.quorum.InspectNodes(c.Context(), key)
	if err != nil {
		return err
	}
	if a.json {
		err = printJSON(c.OutOrStdout(), nodesForPrograms(t, n))
	} else {
		err = describeNodes(c.OutOrStdout(), t, n)
	}
	switch {
	case err != nil:
		return err
	case n.Agree == 0:
		return fmt.Errorf("no server answers: %w", n.Nodes[0].Err)
	case !n.Agreed():
		return fmt.Errorf("%w: %d of %d say %s", quorum.ErrDisagree, n.Agree, len(n.Nodes), stateOf(n.Verdict))
	}
	return nil
}

func nodesForPrograms(t target, n quorum.Nodes) nodesJSON {
	all := nodesJSON{Key: n.Key, Servers: len(n.Nodes), Agree: n.Agree, Agreed: n.Agreed()}
	if n.Agreed() {
		all.Verdict = forPrograms(n.Verdict)
	}
	for i, node := range n.Nodes {
		one := nodeJSON{Server: t.servers[i].name}
		if node.Err != nil {
			one.Error = node.Err.Error()
		} else {
			one.Has = forPrograms(node.Inspection)
		}
		all.Nodes = append(all.Nodes, one)
	}
	return all
}

func describeNodes(w io.Writer, t target, n quorum.Nodes) error {
	rows := newTable(w, "SERVER", "MODE", "HOLDER", "REMAINING", "WAIT")
	for i, node := range n.Nodes {
		cells := append([]string{t.servers[i].name}, keyRow(node.Inspection)[1:]...)
		if node.Err != nil {
			cells = []string{t.servers[i].name, "error", visible(node.Err.Error()), "-", "-"}
		}
		if err := rows.row(cells...); err != nil {
			return err
		}
	}
	if err := rows.end(); err != nil || !n.Agreed() {
		return err
	}
	_, err := fmt.Fprintf(w, "%d of %d servers agree: %s\n", n.Agree, len(n.Nodes), stateOf(n.Verdict))
	return err
}
