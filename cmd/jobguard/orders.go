package main

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/jobguard/jobguard/guard/lease/quorum"
	"github.com/jobguard/jobguard/guard/lease/redisstore"
)

func (a *app) revoke() *cobra.Command {
	var reason string
	c := &cobra.Command{
		Use:   "revoke KEY --reason TEXT",
		Short: "Tell the holders of a key to stop",
		Long: "Tell the holders of a key to stop. The context of their function ends at once, with the reason; the key stays held\n" +
			"until the function has returned, and then goes to the next in line. With several --redis, of a quorum.",
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return a.order(c, args[0], "Tell %s to stop?", func(t target) error {
				return t.Revoke(c.Context(), args[0], reason)
			}, "told to stop")
		},
	}
	c.Flags().StringVar(&reason, "reason", "", "why, for the holder's log (required)")
	c.Flags().BoolVar(&a.yes, "yes", false, "do not ask")
	_ = c.MarkFlagRequired("reason") // the flag exists
	return c
}

func (a *app) breakKey() *cobra.Command {
	c := &cobra.Command{
		Use:   "break KEY",
		Short: "End the leases of a key at once",
		Long: "End the leases of a key at once, and let the next in line begin. For holders that are gone or deaf: one that is alive may\n" +
			"go on beside the next, and only the fencing token protects what both write to. Try revoke first. With several --redis, of a quorum.",
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return a.order(c, args[0], "Take the key from %s? If it is alive, it may run beside the next one until it notices.", func(t target) error {
				return t.Break(c.Context(), args[0])
			}, "free, or granted to the next in line")
		},
	}
	c.Flags().BoolVar(&a.yes, "yes", false, "do not ask")
	return c
}

// order shows the key, asks, and does it, unless the key has another holder by then.
func (a *app) order(c *cobra.Command, key, question string, do func(target) error, done string) error {
	t, end, err := a.connectTo()
	if err != nil {
		return err
	}
	defer end()
	if !a.yes {
		before, err := look(c, t, key)
		if err != nil {
			return err
		}
		if before.free() {
			return a.said(c, key, "free", before)
		}
		if err := before.describe(c.ErrOrStderr(), t); err != nil {
			return err
		}
		if !confirmed(c, fmt.Sprintf(question, before.names())) {
			return errDeclined
		}
		now, err := look(c, t, key)
		if err != nil {
			return err
		}
		if now.anotherThan(before) {
			return errChanged
		}
	}
	if err := do(t); err != nil {
		return err
	}
	after, err := look(c, t, key)
	if err != nil {
		return err
	}
	return a.said(c, key, done, after)
}

func (a *app) said(c *cobra.Command, key, done string, s sight) error {
	if a.json {
		return printJSON(c.OutOrStdout(), forPrograms(s.Inspection))
	}
	_, err := fmt.Fprintf(c.OutOrStdout(), "%s: %s; now %s\n", shown(key), done, stateOf(s.Inspection))
	return err
}

// sight is what was seen of a key: on one server, or of a quorum what most say.
type sight struct {
	redisstore.Inspection
	nodes *quorum.Nodes // nil: one server
}

// look is no failure if the servers of a quorum disagree: then there is something to break.
func look(c *cobra.Command, t target, key string) (sight, error) {
	if t.quorum == nil {
		i, err := t.Inspect(c.Context(), key)
		return sight{i, nil}, err
	}
	n, err := t.quorum.InspectNodes(c.Context(), key)
	if err == nil && n.Agree == 0 {
		err = n.Nodes[0].Err
	}
	return sight{n.Verdict, &n}, err
}

// free: of a quorum, on each server that answers.
func (s sight) free() bool {
	if s.nodes == nil {
		return s.Mode == redisstore.ModeFree
	}
	return !slices.ContainsFunc(s.nodes.Nodes, func(n quorum.Node) bool { return n.Err == nil && n.Mode != redisstore.ModeFree })
}

func (s sight) describe(w io.Writer, t target) error {
	if s.nodes != nil {
		return describeNodes(w, t, *s.nodes)
	}
	return describe(w, s.Inspection)
}

// anotherThan reports whether the one holder that a question named is another by now. Holders
// that share a key come and go.
func (s sight) anotherThan(before sight) bool {
	return before.Mode == redisstore.ModeExclusive &&
		(s.Mode != before.Mode || s.Holders[0].ID != before.Holders[0].ID)
}

// names are those of the first few holders.
func (s sight) names() string {
	const few = 5
	var all []string
	for _, h := range s.Holders[:min(few, len(s.Holders))] {
		all = append(all, visible(h.Owner))
	}
	if more := s.Holding - len(all); more > 0 {
		all = append(all, fmt.Sprintf("and %d more", more))
	}
	if all == nil {
		return "whoever has a part of it"
	}
	return strings.Join(all, ", ")
}

// confirmed asks, and reports whether the answer is yes. An interrupt is no. What reads the answer
// is a goroutine that ends with the input, or the program.
func confirmed(c *cobra.Command, question string) bool {
	_, _ = fmt.Fprintf(c.ErrOrStderr(), "%s [yes/no] ", question)
	answer := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(c.InOrStdin()).ReadString('\n') // the end of the input is no
		answer <- line
	}()
	select {
	case line := <-answer:
		return c.Context().Err() == nil && strings.TrimSpace(line) == "yes"
	case <-c.Context().Done():
		_, _ = fmt.Fprintln(c.ErrOrStderr())
		return false
	}
}
