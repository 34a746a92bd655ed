package main

import (
	"context"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/jobguard/jobguard/guard/lease/redisstore"
)

func (a *app) watch() *cobra.Command {
	var every time.Duration
	c := &cobra.Command{
		Use:   "watch [KEY]",
		Short: "Write a line for each change of a key, or of all",
		Long:  "Write a line for each change of holders, mode or length of the queue, of one key or of all that are held.\nIt asks the server again and again, so what is shorter than the interval may be missed.",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			s, end, err := a.one()
			if err != nil {
				return err
			}
			defer end()
			if every <= 0 {
				return fmt.Errorf("--interval %v is not positive", every)
			}
			return a.follow(c, looks(s.store, args), every)
		},
	}
	c.Flags().DurationVar(&every, "interval", time.Second, "how often to ask")
	return c
}

// looks is a look at one key, or at all.
func looks(store *redisstore.Store, args []string) func(ctx context.Context) iter.Seq2[redisstore.Inspection, error] {
	if len(args) == 0 {
		return func(ctx context.Context) iter.Seq2[redisstore.Inspection, error] { return store.List(ctx, "") }
	}
	return func(ctx context.Context) iter.Seq2[redisstore.Inspection, error] {
		return func(yield func(redisstore.Inspection, error) bool) { yield(store.Inspect(ctx, args[0])) }
	}
}

// follow writes what changes until the context ends, which is no error.
func (a *app) follow(c *cobra.Command, look func(context.Context) iter.Seq2[redisstore.Inspection, error], every time.Duration) error {
	ctx := c.Context()
	tick := time.NewTicker(every)
	defer tick.Stop()
	before := make(map[string]string)
	for {
		now := make(map[string]string, len(before))
		for i, err := range look(ctx) {
			if ctx.Err() != nil {
				return nil
			}
			if err != nil {
				return failure{err}
			}
			state := stateOf(i)
			if now[i.Key] = state; before[i.Key] != state {
				if err := a.change(c, i, state); err != nil {
					return failure{err}
				}
			}
		}
		for key := range before {
			if _, there := now[key]; !there {
				free := redisstore.Inspection{Key: key, Mode: redisstore.ModeFree}
				if err := a.change(c, free, stateOf(free)); err != nil {
					return failure{err}
				}
			}
		}
		before = now
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// stateOf is what a change is a change of: process ids tell runs of one name apart.
func stateOf(i redisstore.Inspection) string {
	var b strings.Builder
	b.WriteString(mode(i))
	for _, h := range i.Holders {
		fmt.Fprintf(&b, " %s", h.Owner)
		if h.Metadata != "" {
			fmt.Fprintf(&b, " (%s)", h.Metadata)
		}
	}
	if n := len(i.Queue); n > 0 {
		fmt.Fprintf(&b, ", %d wait", n)
	}
	return b.String()
}

func (a *app) change(c *cobra.Command, i redisstore.Inspection, state string) error {
	now := time.Now()
	if a.json {
		return printJSON(c.OutOrStdout(), struct {
			At time.Time `json:"at"`
			keyJSON
		}{now, forPrograms("", i)})
	}
	_, err := fmt.Fprintf(c.OutOrStdout(), "%s  %s  %s\n", now.Format("15:04:05.000"), shown(i.Key), state)
	return err
}
