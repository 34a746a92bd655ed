package main

import (
	"bufio"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/jobguard/jobguard/guard/lease/redisstore"
)

func (a *app) revoke() *cobra.Command {
	var reason string
	c := &cobra.Command{
		Use:   "revoke KEY --reason TEXT",
		Short: "Tell the holders of a key to stop",
		Long: "Tell the holders of a key to stop. The context of their function ends at once, with the reason; the key stays held\n" +
			"until the function has returned, and then goes to the next in line.",
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return a.order(c, args[0], "Tell %s to stop?", func(s server) error {
				return s.store.Revoke(c.Context(), args[0], reason)
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
			"go on beside the next, and only the fencing token protects what both write to. Try revoke first.",
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return a.order(c, args[0], "Take the key from %s? If it is alive, it may run beside the next one until it notices.", func(s server) error {
				return s.store.Break(c.Context(), args[0])
			}, "free, or granted to the next in line")
		},
	}
	c.Flags().BoolVar(&a.yes, "yes", false, "do not ask")
	return c
}

// order shows the key, asks, and does it.
func (a *app) order(c *cobra.Command, key, question string, do func(server) error, done string) error {
	s, end, err := a.one()
	if err != nil {
		return err
	}
	defer end()
	if !a.yes {
		i, err := s.store.Inspect(c.Context(), key)
		if err != nil {
			return failure{err}
		}
		if i.Mode == redisstore.ModeFree {
			return a.said(c, key, "free", i)
		}
		if err := describe(c.ErrOrStderr(), i); err != nil {
			return err
		}
		if !confirmed(c, fmt.Sprintf(question, names(i))) {
			return errDeclined
		}
	}
	if err := do(s); err != nil {
		return failure{err}
	}
	i, err := s.store.Inspect(c.Context(), key)
	if err != nil {
		return failure{err}
	}
	return a.said(c, key, done, i)
}

func (a *app) said(c *cobra.Command, key, done string, i redisstore.Inspection) error {
	if a.json {
		return printJSON(c.OutOrStdout(), forPrograms("", i))
	}
	_, err := fmt.Fprintf(c.OutOrStdout(), "%s: %s; now %s\n", shown(key), done, stateOf(i))
	return err
}

func names(i redisstore.Inspection) string {
	all := make([]string, len(i.Holders))
	for n, h := range i.Holders {
		all[n] = h.Owner
	}
	return strings.Join(all, ", ")
}

// confirmed asks, and reports whether the answer is yes.
func confirmed(c *cobra.Command, question string) bool {
	_, _ = fmt.Fprintf(c.ErrOrStderr(), "%s [yes/no] ", question)
	answer, _ := bufio.NewReader(c.InOrStdin()).ReadString('\n') // the end of the input is no
	return strings.TrimSpace(answer) == "yes"
}
