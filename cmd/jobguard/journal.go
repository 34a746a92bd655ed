package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/spf13/cobra"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/journal"
	"github.com/jobguard/jobguard/guard/journal/redislog"
)

// recordJSON is a dead record for programs. Payload and checkpoint are base64.
type recordJSON struct {
	ID          string    `json:"id"`
	Kind        string    `json:"kind"`
	Key         string    `json:"key"`
	Reason      string    `json:"reason"`
	Attempt     int       `json:"attempt"`
	Started     time.Time `json:"started"`
	Fence       int64     `json:"fence"`
	LatestFence int64     `json:"latest_fence"`
	Err         string    `json:"error,omitempty"`
	Payload     []byte    `json:"payload,omitempty"`
	Checkpoint  []byte    `json:"checkpoint,omitempty"`
}

func recordForPrograms(r journal.Record) recordJSON {
	return recordJSON{r.ID, r.Kind, r.Key, string(r.Reason), r.Attempt, r.Started, r.Fence, r.LatestFence, r.Err, r.Payload, r.Checkpoint}
}

// journalFlags name the log.
type journalFlags struct {
	prefix string
	shards int
}

func (a *app) journal() *cobra.Command {
	var f journalFlags
	c := &cobra.Command{Use: "journal", Short: "See and decide what the journal has given up"}
	c.PersistentFlags().StringVar(&f.prefix, "journal-prefix", "journal:", "prefix of the log, as redislog.Prefix")
	c.PersistentFlags().IntVar(&f.shards, "shards", 1, "shards of the log, as redislog.Shards")
	c.AddCommand(a.journalLs(&f), a.journalShow(&f), a.journalDecide(&f, "requeue", "Let a dead record be tried again", (*journal.Journal).Requeue),
		a.journalDecide(&f, "drop", "Delete a dead record", (*journal.Journal).Drop))
	return c
}

// withJournal calls do with the journal on the server.
func (a *app) withJournal(f *journalFlags, do func(server, *journal.Journal) error) error {
	s, end, err := a.one()
	if err != nil {
		return err
	}
	defer end()
	log, err := openLog(s, f)
	if err != nil {
		return usage{err}
	}
	g, err := guard.New(s.store)
	if err != nil {
		return err
	}
	j, err := journal.New(g, log)
	if err != nil {
		return err
	}
	return do(s, j)
}

// openLog turns what redislog panics for into wrong usage.
func openLog(s server, f *journalFlags) (_ *redislog.Log, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the journal's flags: %v", r)
		}
	}()
	return redislog.New(s.client, redislog.Prefix(f.prefix), redislog.Shards(f.shards)), nil
}

func (a *app) journalLs(f *journalFlags) *cobra.Command {
	return &cobra.Command{
		Use:   "ls",
		Short: "List the dead records",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return a.withJournal(f, func(s server, j *journal.Journal) error {
				t := newTable(c.OutOrStdout(), "ID", "KIND", "KEY", "REASON", "ATTEMPT", "STARTED", "ERROR")
				records := 0
				for r, err := range j.Dead(c.Context()) {
					switch {
					case err != nil:
						_ = t.end() // the error counts
						return err
					case a.json:
						records++
						err = printJSON(c.OutOrStdout(), recordForPrograms(r))
					default:
						records++
						err = t.row(r.ID, shown(r.Kind), shown(r.Key), string(r.Reason), fmt.Sprint(r.Attempt), r.Started.Format(time.RFC3339), oneLine(r.Err))
					}
					if err != nil {
						return err
					}
				}
				if err := t.end(); err != nil || records > 0 {
					return err
				}
				return noteNoneDead(c, s, j, f)
			})
		},
	}
}

// noteNoneDead says on stderr whether a journal has no dead record, or is not there at all: then
// the prefix is wrong, or it is kept in SQL.
func noteNoneDead(c *cobra.Command, s server, j *journal.Journal, f *journalFlags) error {
	stats, err := j.Stats(c.Context())
	if err != nil {
		return err
	}
	found := stats.Open > 0
	if !found { // those that are done are kept for a while
		if found, err = hasKeys(c.Context(), s.client, f.prefix); err != nil {
			return err
		}
	}
	text := fmt.Sprintf("the journal under the prefix %q has no dead record, and %d open", f.prefix, stats.Open)
	if !found {
		text = fmt.Sprintf("no journal is in Redis under the prefix %q of %s: see --journal-prefix; of one kept in SQL list the dead records with sqllog, as docs/operating.md shows",
			f.prefix, s.name)
	}
	_, _ = fmt.Fprintln(c.ErrOrStderr(), "jobguard:", text)
	return nil
}

// hasKeys reports whether a journal with that prefix has any key.
func hasKeys(ctx context.Context, client redis.UniversalClient, prefix string) (bool, error) {
	pattern := strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(prefix) + "{*}:*"
	var found atomic.Bool
	scan := func(ctx context.Context, client *redis.Client) error {
		keys := client.Scan(ctx, 0, pattern, 1000).Iterator()
		if keys.Next(ctx) {
			found.Store(true)
		}
		return keys.Err()
	}
	var err error
	switch client := client.(type) {
	case *redis.ClusterClient:
		err = client.ForEachMaster(ctx, scan)
	case *redis.Client:
		err = scan(ctx, client)
	}
	return found.Load(), err
}

func (a *app) journalShow(f *journalFlags) *cobra.Command {
	return &cobra.Command{
		Use:   "show ID",
		Short: "Show a dead record with its payload and checkpoint",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return a.withJournal(f, func(_ server, j *journal.Journal) error {
				r, err := find(c.Context(), j, args[0])
				if err != nil {
					return err
				}
				if a.json {
					return printJSON(c.OutOrStdout(), recordForPrograms(r))
				}
				_, err = fmt.Fprintf(c.OutOrStdout(), "%s  %s of %s, %s, attempt %d\nstarted     %s\ntoken       %d, latest %d\nerror       %s\npayload     %q\ncheckpoint  %q\n",
					r.ID, shown(r.Kind), shown(r.Key), r.Reason, r.Attempt, r.Started.Format(time.RFC3339), r.Fence, r.LatestFence, oneLine(r.Err), r.Payload, r.Checkpoint)
				return err
			})
		},
	}
}

func find(ctx context.Context, j *journal.Journal, id string) (journal.Record, error) {
	for r, err := range j.Dead(ctx) {
		if err != nil || r.ID == id {
			return r, err
		}
	}
	return journal.Record{}, fmt.Errorf("%w: %s", journal.ErrNotFound, id)
}

// journalDecide is requeue or drop: it shows the record, asks, and does it.
func (a *app) journalDecide(f *journalFlags, verb, what string, do func(*journal.Journal, context.Context, string) error) *cobra.Command {
	c := &cobra.Command{
		Use:   verb + " ID",
		Short: what,
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return a.withJournal(f, func(_ server, j *journal.Journal) error {
				if !a.yes {
					r, err := find(c.Context(), j, args[0])
					if err != nil {
						return err
					}
					if !confirmed(c, fmt.Sprintf("%s: %s of %s, %s", strings.ToUpper(verb[:1])+verb[1:], shown(r.Kind), shown(r.Key), oneLine(r.Err))) {
						return errDeclined
					}
				}
				err := do(j, c.Context(), args[0])
				if errors.Is(err, journal.ErrNotFound) {
					err = fmt.Errorf("%w: %s", err, args[0])
				}
				if err != nil {
					return err
				}
				if a.json {
					return printJSON(c.OutOrStdout(), map[string]string{"id": args[0], "done": verb})
				}
				_, err = fmt.Fprintf(c.OutOrStdout(), "%s: done\n", args[0])
				return err
			})
		},
	}
	c.Flags().BoolVar(&a.yes, "yes", false, "do not ask")
	return c
}

func oneLine(s string) string {
	if s == "" {
		return "-"
	}
	return shown(s)
}
