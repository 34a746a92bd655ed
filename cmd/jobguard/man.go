package main

import (
	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

func (a *app) man() *cobra.Command {
	return &cobra.Command{
		Use:   "man DIR",
		Short: "Write manual pages into a directory",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if err := doc.GenManTree(c.Root(), &doc.GenManHeader{Section: "1"}, args[0]); err != nil {
				return err
			}
			return nil
		},
	}
}
