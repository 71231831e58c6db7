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
		Short: "Remove the cluster",
		Long: "Remove the cluster: its nodes with their volumes and network, its control plane, its kubeconfig entries\n" +
			"and its files, and nothing else. Removing a cluster that does not exist succeeds.",
		Example: "  kl down\n\n  # every cluster below $KL_HOME\n  kl down --all",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			names := []string{e.name}
			if all {
				if cmd.Flags().Changed("name") {
					return misuse(cmd, errors.New("--all and --name exclude each other"))
				}
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
	cmd.Flags().BoolVar(&all, "all", false, "remove every cluster, and node images that are not in use")
	addOutput(cmd, &o)
	return cmd
}

// down removes the clusters one after another; one that cannot be removed does not keep the others.
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
