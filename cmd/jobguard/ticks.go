package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/jobguard/jobguard/guard/lease"
)

type tickJSON struct {
	Key      string    `json:"key"`
	At       time.Time `json:"at"`
	State    string    `json:"state"`
	Owner    string    `json:"owner,omitempty"`
	Attempts int       `json:"attempts,omitempty"`
}

func (a *app) ticks() *cobra.Command {
	return &cobra.Command{
		Use:   "ticks [PATTERN]",
		Short: "List the last ticks of cron jobs",
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
			t := newTable(c.OutOrStdout(), "KEY", "TICK", "STATE", "BY", "ATTEMPTS")
			ticks := 0
			for k, err := range s.store.Ticks(c.Context(), pattern) {
				if err != nil {
					_ = t.end() // the error counts
					return err
				}
				ticks++
				if a.json {
					err = printJSON(c.OutOrStdout(), tickForPrograms(k.Key, k.Tick))
				} else {
					err = t.row(shown(k.Key), k.At.Format(time.RFC3339), tickState(k.Tick), dash(lease.OwnerName(k.Owner)), fmt.Sprint(k.Attempts))
				}
				if err != nil {
					return err
				}
			}
			if err := t.end(); err != nil || ticks > 0 {
				return err
			}
			a.note(c, "no tick is kept", pattern)
			return nil
		},
	}
}

func tickForPrograms(key string, t lease.Tick) *tickJSON {
	return &tickJSON{key, t.At, tickState(t), lease.OwnerName(t.Owner), t.Attempts}
}

func tickState(t lease.Tick) string {
	switch {
	case !t.Dead.IsZero() && t.Dead.Equal(t.At):
		return "dead"
	case t.Done:
		return "done"
	}
	return "open"
}
