package cmd

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/klkube/kl/cluster/host"
)

// nodeVerbs returns the subcommands of kl node that change nodes.
func nodeVerbs(e *env) []*cobra.Command {
	type do = func(*host.Host, context.Context, string, string) error
	var out []*cobra.Command
	for _, v := range []struct {
		use, short, long, done string
		do                     do
	}{
		{"stop", "Shut nodes down until they are started again", "Shut nodes down. They stay off, even if the cluster is restarted, until 'kl node start' or 'kl up'.",
			"is stopped", (*host.Host).StopNode},
		{"start", "Start stopped or killed nodes", "Start nodes again, with the identity, address and data they had.", "is running", (*host.Host).StartNode},
		{"kill", "Turn nodes off like a power failure", "Turn nodes off without a shutdown, like a power failure. They stay off until 'kl node start' or 'kl up'.",
			"is killed", (*host.Host).KillNode},
		{"partition", "Disconnect nodes from the network", "Disconnect nodes from the control plane and from all other nodes, like a pulled network cable. Their pods keep\n" +
			"running; after Kubernetes' own timeouts the nodes are NotReady and the pods are evicted. 'kl node heal' reconnects.",
			"is cut off", (*host.Host).PartitionNode},
		{"heal", "Reconnect partitioned nodes", "Reconnect nodes that 'kl node partition' disconnected.", "is connected again", (*host.Host).HealNode},
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
				err := e.withProgress(o, fmt.Sprintf("Node %s %s.", n, done), func(h *host.Host) error {
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

// completeNodeArgs completes every argument with node names.
func (e *env) completeNodeArgs(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	return e.completeNodes(cmd.Context())
}
