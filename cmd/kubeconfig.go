package cmd

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/statefile"
)

func newKubeconfigCmd(e *env) *cobra.Command {
	var merge bool
	cmd := &cobra.Command{
		Use:   "kubeconfig",
		Short: "Print the cluster's kubeconfig, or merge it into yours",
		Long: "Print the cluster's kubeconfig, or merge it into yours ($KUBECONFIG or ~/.kube/config) as context\n" +
			"kl-<name>, as 'kl up' does. Other entries of the file stay as they are.",
		Example: "  kl kubeconfig > config.yaml\n  kl kubeconfig --merge",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := exclusive(cmd, "merge", "print"); err != nil {
				return err
			}
			return kubeconfig(cmd.Context(), e, merge)
		},
	}
	cmd.Flags().BoolVar(&merge, "merge", false, "merge into your kubeconfig and make kl-<name> the current context")
	cmd.Flags().Bool("print", false, "print the kubeconfig (default)")
	return cmd
}

func kubeconfig(ctx context.Context, e *env, merge bool) error {
	l := e.layout()
	if _, err := cluster.ReadSpec(l); err != nil {
		return err
	}
	if merge {
		file, name, err := e.host(nil).MergeKubeconfig(ctx, e.name)
		if err != nil {
			return err
		}
		fmt.Fprintf(e.Err, "Merged context %s into %s and made it current.\n", name, file)
		return nil
	}
	data, err := statefile.Read(l.Kubeconfig())
	if err != nil {
		return fmt.Errorf("read kubeconfig: %w", err)
	}
	_, err = e.Out.Write(data)
	return err
}
