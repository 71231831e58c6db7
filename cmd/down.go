package cmd

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
)

func newDownCmd(e *env) *cobra.Command {
	var all bool
	var o output
	cmd := &cobra.Command{
		Use:   "down",
		Short: "Remove the cluster and everything that belongs to it",
		Long: "Remove the cluster: its nodes with their volumes and network, its control plane, its kubeconfig entries\n" +
			"and its files. Nothing else is touched. Removing a cluster that does not exist succeeds.",
		Example: "  kl down\n\n  # every cluster in $KL_HOME\n  kl down --all",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := exclusive(cmd, "all", "name"); err != nil {
				return err
			}
			names := []string{e.name}
			if all {
				var err error
				if names, err = e.Home.Names(); err != nil {
					return err
				}
			}
			err := down(cmd.Context(), e, names, o)
			if all && err == nil {
				err = e.host(nil).Purge(cmd.Context(), e.driverNames())
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "remove all clusters, and node images that are no longer used")
	addOutput(cmd, &o)
	return cmd
}

// down removes clusters one after another. It goes on after a failure and returns all of them.
func down(ctx context.Context, e *env, names []string, o output) error {
	var errs []error
	for _, name := range names {
		progress := e.progress(o)
		existed, err := e.host(progress.Event).Down(ctx, name)
		progress.Close()
		errs = append(errs, err)
		switch {
		case err != nil || o.isJSON():
		case existed:
			fmt.Fprintf(e.Out, "Cluster %s is removed.\n", name)
		default:
			fmt.Fprintf(e.Out, "There is no cluster %s.\n", name)
		}
	}
	if len(names) == 0 && !o.isJSON() {
		fmt.Fprintln(e.Out, "There are no clusters.")
	}
	return errors.Join(errs...)
}
