package cmd

import (
	"context"
	"fmt"

	"github.com/klkube/kl/cluster/host"

	"github.com/spf13/cobra"
)

// nodeVerbs are the commands below `kl node` that do something to nodes.
func nodeVerbs(e *env) []*cobra.Command {
	type do = func(*host.Host, context.Context, string, string) error
	var out []*cobra.Command
	for _, v := range []struct {
		use, short, long, done string
		do                     do
	}{
		{"stop", "Turn nodes off until they are started again", "Turn nodes off as a shutdown does. They stay off, whatever happens to the cluster, until 'kl node start' or 'kl up'.",
			"is stopped", (*host.Host).StopNode},
		{"start", "Turn stopped or killed nodes on again", "Turn nodes on again, with their identity, address and data.", "is running", (*host.Host).StartNode},
		{"kill", "Turn nodes off at once, as a power failure does", "Turn nodes off at once, as a power failure does. They stay off until 'kl node start' or 'kl up'.",
			"is killed", (*host.Host).KillNode},
		{"partition", "Cut nodes from the control plane and from each other", "Cut nodes from the control plane and from their peers, as a pulled cable does: their pods run on, and\n" +
			"after Kubernetes' own timeouts the node is NotReady and its pods are evicted. It lasts until 'kl node heal'.",
			"is cut off", (*host.Host).PartitionNode},
		{"heal", "End a partition", "Connect nodes again that 'kl node partition' cut off.", "is connected again", (*host.Host).HealNode},
	} {
		out = append(out, newNodeVerb(e, v.use, v.short, v.long, v.done, v.do))
	}
	return append(out, newNodeAddCmd(e), newNodeRemoveCmd(e))
}

func newNodeVerb(e *env, use, short, long, done string, do func(*host.Host, context.Context, string, string) error) *cobra.Command {
	var o output
	cmd := &cobra.Command{
		Use: use + " NODE…", Short: short, Long: long,
		Example: fmt.Sprintf("  kl node %s n2\n  kl node %s n2 n3 --name big", use, use),
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, nodes []string) error {
			for _, n := range nodes {
				err := e.during(o, fmt.Sprintf("Node %s %s.", n, done), func(h *host.Host) error {
					return do(h, cmd.Context(), e.name, n)
				})
				if err != nil {
					return err
				}
			}
			return nil
		},
		ValidArgsFunction: e.completeNodeArgs,
	}
	addOutput(cmd, &o)
	return cmd
}

// completeNodeArgs offers node names for every argument.
func (e *env) completeNodeArgs(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	return e.completeNodes(cmd.Context())
}
