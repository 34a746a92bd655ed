package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
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
		Long:  "Write a line for each change of holders, mode or length of the queue, of one key or of all that are held.\nIt asks the server again and again, so what is shorter than the interval may be missed. An interrupt ends it.",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			s, end, err := a.one()
			if err != nil {
				return err
			}
			defer end()
			if every <= 0 {
				return usage{fmt.Errorf("--interval %v is not positive", every)}
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

// follow writes what changes until the context ends, which is no error. When it has seen
// something, a server that cannot be asked for a while is none either: it says so, once, and
// asks again.
func (a *app) follow(c *cobra.Command, look func(context.Context) iter.Seq2[redisstore.Inspection, error], every time.Duration) error {
	ctx := c.Context()
	tick := time.NewTicker(every)
	defer tick.Stop()
	var before map[string]string
	failing := false
	for {
		now, failed, err := a.changes(c, look(ctx), before)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil, failed != nil && before == nil:
			return errors.Join(err, failed)
		case failed != nil && !failing:
			_, _ = fmt.Fprintln(c.ErrOrStderr(), "jobguard: asking again:", failed)
		case failed == nil:
			before = now
		}
		failing = failed != nil
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// changes writes what has changed, and returns what is known now. failed: the server could not be
// asked. err: the output could not be written.
func (a *app) changes(c *cobra.Command, look iter.Seq2[redisstore.Inspection, error], before map[string]string) (now map[string]string, failed, err error) {
	now = make(map[string]string, len(before))
	for i, failed := range look {
		if failed != nil {
			return nil, failed, nil
		}
		now[i.Key] = identity(i)
		if before[i.Key] == now[i.Key] {
			continue
		}
		if before != nil { // an end of the look, by an error, must not repeat it
			before[i.Key] = now[i.Key]
		}
		if err := a.change(c, i); err != nil {
			return nil, nil, err
		}
	}
	for key := range before {
		if _, there := now[key]; !there {
			if err := a.change(c, redisstore.Inspection{Key: key, Mode: redisstore.ModeFree}); err != nil {
				return nil, nil, err
			}
		}
	}
	return now, nil, nil
}

// identity is what a change is a change of: who holds the key, by the ids of the leases, and how
// many wait. The order in which several holders are named changes with each renewal.
func identity(i redisstore.Inspection) string {
	ids := make([]string, len(i.Holders))
	for n, h := range i.Holders {
		ids[n] = h.ID
	}
	slices.Sort(ids)
	return fmt.Sprintf("%s %d %q %d %d", i.Mode, i.Limit, ids, i.Holding, i.Waiting)
}

// stateOf is how a key is held in one line.
func stateOf(i redisstore.Inspection) string {
	var b strings.Builder
	b.WriteString(mode(i))
	for _, h := range i.Holders {
		fmt.Fprintf(&b, " %s", visible(h.Owner))
		if h.Metadata != "" {
			fmt.Fprintf(&b, " (%s)", visible(h.Metadata))
		}
	}
	if more := i.Holding - len(i.Holders); more > 0 {
		fmt.Fprintf(&b, " and %d more", more)
	}
	if i.Waiting > 0 {
		fmt.Fprintf(&b, ", %d wait", i.Waiting)
	}
	return b.String()
}

func (a *app) change(c *cobra.Command, i redisstore.Inspection) error {
	now := time.Now()
	if a.json {
		return printJSON(c.OutOrStdout(), struct {
			At time.Time `json:"at"`
			*keyJSON
		}{now, forPrograms(i)})
	}
	_, err := fmt.Fprintf(c.OutOrStdout(), "%s  %s  %s\n", now.Format("15:04:05.000"), shown(i.Key), stateOf(i))
	return err
}
