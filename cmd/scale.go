package cmd

import (
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/klkube/kl/cluster/host"
)

func newScaleCmd(e *env) *cobra.Command {
	var o output
	cmd := &cobra.Command{
		Use: "scale simulated N", Short: "Change the number of simulated nodes",
		Long: "Change the number of simulated nodes of a running cluster. kwok simulates them in the control plane: there are\n" +
			"no containers, and pods on them run nothing. Only pods that tolerate kwok.x-k8s.io/node are scheduled there.\n" +
			"Stage objects define how nodes and pods behave: 'kl kubectl get stages'.",
		Example: "  kl scale simulated 1000\n  kl scale simulated 0",
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			n, err := strconv.Atoi(args[1])
			if args[0] != "simulated" || err != nil || n < 0 {
				return misuse(cmd, fmt.Errorf("want 'simulated' and a number, got %q", args))
			}
			return e.withProgress(o, fmt.Sprintf("Cluster %s has %s.", e.name, plural(n, "simulated node")), func(h *host.Host) error {
				return h.Scale(cmd.Context(), e.name, n)
			})
		},
		ValidArgs: []string{"simulated"},
	}
	addOutput(cmd, &o)
	return cmd
}
