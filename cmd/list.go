package cmd

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
)

func newListCmd(e *env) *cobra.Command {
	var o output
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List the clusters on this machine",
		Example: "  kl list\n  kl list -o json",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return list(cmd.Context(), e, o) },
	}
	addOutput(cmd, &o)
	return cmd
}

func list(ctx context.Context, e *env, o output) error {
	infos, err := e.host(nil).List(ctx)
	if err != nil {
		return err
	}
	if o.isJSON() {
		return printJSON(e.Out, infos)
	}
	if len(infos) == 0 {
		fmt.Fprintln(e.Err, "There are no clusters. 'kl up' creates one.")
		return nil
	}
	rows := [][]string{{"NAME", "STATE", "NODES", "KUBERNETES", "DRIVER", "API", "UPTIME"}}
	for _, i := range infos {
		uptime := ""
		if i.Status != nil {
			uptime = age(time.Since(i.Status.Started))
		}
		rows = append(rows, []string{i.Name, string(i.Phase), fmt.Sprint(len(i.Nodes)), i.Kubernetes, string(i.Driver), i.Server, uptime})
	}
	if err := table(e.Out, rows); err != nil {
		return err
	}
	for _, i := range infos {
		for _, problem := range i.Problems {
			fmt.Fprintf(e.Err, "%s: %s\n", i.Name, printable(firstLine(problem)))
		}
	}
	return nil
}
