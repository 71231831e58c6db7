package cmd

import (
	"fmt"
	"strconv"

	"github.com/klkube/kl/cluster/host"

	"github.com/spf13/cobra"
)

func newScaleCmd(e *env) *cobra.Command {
	var o output
	cmd := &cobra.Command{
		Use: "scale simulated N", Short: "Change the number of simulated nodes",
		Long: "Change the number of simulated nodes of a running cluster. They are played by kwok in the control plane: no\n" +
			"containers, and pods on them run nothing. Only pods that tolerate kwok.x-k8s.io/node land on them. How they\n" +
			"and their pods live is up to Stage objects: 'kl kubectl get stages'.",
		Example: "  kl scale simulated 1000\n  kl scale simulated 0",
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			n, err := strconv.Atoi(args[1])
			if args[0] != "simulated" || err != nil || n < 0 {
				return misuse(cmd, fmt.Errorf("say 'simulated' and a number, not %q", args))
			}
			return e.during(o, fmt.Sprintf("Cluster %s has %s.", e.name, plural(n, "simulated node")), func(h *host.Host) error {
				return h.Scale(cmd.Context(), e.name, n)
			})
		},
		ValidArgs: []string{"simulated"},
	}
	addOutput(cmd, &o)
	return cmd
}
