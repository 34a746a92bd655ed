package main

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/jobguard/jobguard/guard/lease/redisstore"
)

type findingJSON struct {
	Server   string `json:"server"`
	Name     string `json:"name"`
	Severity string `json:"severity"`
	Why      string `json:"why"`
	Fix      string `json:"fix"`
}

// doctor judges each server of --redis with [redisstore.Check]. What breaks a promise is
// exit code 1; a risk is shown, and no failure.
func (a *app) doctor() *cobra.Command {
	ttl := 10 * time.Second
	c := &cobra.Command{
		Use:   "doctor",
		Short: "Tell whether a server is fit for leases, and what to mend",
		Long:  "Tell whether a server is fit for leases, and what to mend. It changes nothing on the server. Exit code 1 if a promise is broken.",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if ttl <= 0 {
				return usage{fmt.Errorf("--ttl %v: need a positive duration", ttl)}
			}
			servers, end, err := a.connect()
			if err != nil {
				return err
			}
			defer end()
			var failed []error
			broken := false
			for _, s := range servers { // also behind one that does not answer
				findings, err := redisstore.Check(c.Context(), s.client, redisstore.Prefix(a.prefix), redisstore.ForTTL(ttl))
				if err != nil {
					failed = append(failed, fmt.Errorf("%s: %w", s.name, err))
				}
				broken = broken || slices.ContainsFunc(findings, func(f redisstore.Finding) bool { return f.Severity == redisstore.Broken })
				if err != nil && len(findings) == 0 {
					continue
				}
				if err := a.prescribe(c, s.name, findings); err != nil {
					return err
				}
			}
			if broken {
				failed = append(failed, errBroken)
			}
			return errors.Join(failed...)
		},
	}
	c.Flags().DurationVar(&ttl, "ttl", ttl, "TTL of the leases, by which round trips and replicas are judged")
	return c
}

var errBroken = errors.New("a promise is broken: see the findings")

// prescribe prints what was found at one server.
func (a *app) prescribe(c *cobra.Command, server string, findings []redisstore.Finding) error {
	out := c.OutOrStdout()
	if a.json {
		for _, f := range findings {
			if err := printJSON(out, findingJSON{server, f.Name, f.Severity, f.Why, f.Fix}); err != nil {
				return err
			}
		}
		return nil
	}
	if len(findings) == 0 {
		_, err := fmt.Fprintf(out, "%s is fit for leases\n", server)
		return err
	}
	for _, f := range findings {
		if _, err := fmt.Fprintf(out, "%s  %s: %s\n  %s\n  mend: %s\n", server, f.Severity, f.Name, shown(f.Why), shown(f.Fix)); err != nil {
			return err
		}
	}
	return nil
}
