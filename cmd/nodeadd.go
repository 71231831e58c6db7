package cmd

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/config"
	"github.com/klkube/kl/cluster/host"
)

func newNodeAddCmd(e *env) *cobra.Command {
	g := cluster.NodeGroup{Count: 1}
	opts := host.UpOptions{}
	var o output
	cmd := &cobra.Command{
		Use: "add [NAME…]", Short: "Add nodes to the cluster",
		Long: "Add nodes to the cluster and wait until they are Ready. Without names, they get the first free ones of n1, n2 and\n" +
			"so on. --cpus and --memory limit a node, and what it reports as allocatable.",
		Example: "  kl node add\n  kl node add big --cpus 2 --memory 4Gi --label tier=db --taint dedicated=db:NoSchedule\n  kl node add --count 3",
		RunE: func(cmd *cobra.Command, names []string) error {
			if len(names) > 0 {
				if cmd.Flags().Changed("count") && g.Count != len(names) {
					return misuse(cmd, fmt.Errorf("--count is %d, but the number of names is %d", g.Count, len(names)))
				}
				g.Names, g.Count = names, len(names)
			}
			if g.Count < 1 {
				return misuse(cmd, errors.New("--count must be 1 or more"))
			}
			return nodeAdd(cmd.Context(), e, g, opts, o)
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	f := cmd.Flags()
	f.IntVar(&g.Count, "count", 1, "how many `nodes` to add")
	f.StringVar(&g.CPUs, "cpus", "", "`CPUs` of each node, such as 2 or 1500m; no limit by default")
	f.StringVar(&g.Memory, "memory", "", "`memory` of each node, such as 2Gi; no limit by default")
	f.StringToStringVar(&g.Labels, "label", nil, "Kubernetes label, `key=value`; may be repeated")
	f.StringArrayVar(&g.Taints, "taint", nil, "Kubernetes taint, `key[=value]:effect`; may be repeated")
	f.DurationVar(&opts.Timeout, "timeout", host.DefaultTimeout, "give up after this `time`")
	addOutput(cmd, &o)
	return cmd
}

func nodeAdd(ctx context.Context, e *env, g cluster.NodeGroup, opts host.UpOptions, o output) error {
	check := cluster.DefaultSpec()
	check.Nodes = []cluster.NodeGroup{g}
	if err := config.Check(check, config.ThisMachine()); err != nil {
		return usageError{err}
	}
	progress := e.progress(o)
	names, err := e.host(progress.Event).AddNodes(ctx, e.name, g, opts)
	progress.Close()
	if err == nil && !o.isJSON() {
		fmt.Fprintf(e.Out, "Added %s.\n", strings.Join(names, ", "))
	}
	return err
}

func newNodeRemoveCmd(e *env) *cobra.Command {
	var opts host.RemoveOptions
	var o output
	cmd := &cobra.Command{
		Use: "remove NODE…", Aliases: []string{"rm"}, Short: "Drain nodes and remove them from the cluster",
		Long: "Cordon and drain nodes, then delete them with their volumes. Draining respects PodDisruptionBudgets. --force skips\n" +
			"draining, and also removes nodes that do not answer. If claims have their data on a node, kl names them and asks;\n" +
			"without a terminal it needs --delete-volumes.",
		Example: "  kl node remove n2\n  kl node remove n2 --force\n  kl node remove n2 --delete-volumes",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, nodes []string) error {
			if isTerminal(e.In) && isTerminal(e.Err) {
				opts.Confirm = e.confirm
			}
			for _, n := range nodes {
				err := e.withProgress(o, fmt.Sprintf("Node %s is removed.", n), func(h *host.Host) error {
					return h.RemoveNode(cmd.Context(), e.name, n, opts)
				})
				if err != nil {
					return err
				}
			}
			return nil
		},
		ValidArgsFunction: e.completeNodeArgs,
	}
	cmd.Flags().BoolVar(&opts.Force, "force", false, "remove without draining")
	cmd.Flags().BoolVar(&opts.DeleteVolumes, "delete-volumes", false, "remove although claims have their data on the node")
	cmd.Flags().DurationVar(&opts.DrainTimeout, "timeout", host.DefaultDrainTimeout, "give up draining after this `time`")
	addOutput(cmd, &o)
	return cmd
}

// confirm asks whether to go on; anything but yes means no, and so does the end of ctx.
func (e *env) confirm(ctx context.Context, question string) bool {
	fmt.Fprintf(e.Err, "%s Remove all the same? [y/N] ", question)
	answers := make(chan string, 1)
	go func() {
		answer, err := bufio.NewReader(e.In).ReadString('\n')
		if err != nil {
			answer = ""
		}
		answers <- strings.ToLower(strings.TrimSpace(answer))
	}()
	select {
	case answer := <-answers:
		return answer == "y" || answer == "yes"
	case <-ctx.Done():
		return false
	}
}
