package cmd

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"github.com/klkube/kl/cluster/host"

	"github.com/spf13/cobra"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/config"
)

func newNodeAddCmd(e *env) *cobra.Command {
	g := cluster.NodeGroup{Count: 1}
	opts := host.UpOptions{}
	var o output
	cmd := &cobra.Command{
		Use: "add [NAME…]", Short: "Add nodes to the cluster",
		Long: "Add nodes to the cluster and wait until they are Ready. Without a name they get the first of n1, n2, … that is\n" +
			"free. --cpus and --memory limit the node and what it reports as allocatable.",
		Example: "  kl node add\n  kl node add big --cpus 2 --memory 4Gi --label tier=db --taint dedicated=db:NoSchedule\n  kl node add --count 3",
		RunE: func(cmd *cobra.Command, names []string) error {
			if len(names) > 0 {
				if cmd.Flags().Changed("count") && g.Count != len(names) {
					return misuse(cmd, fmt.Errorf("%d names for %d nodes", len(names), g.Count))
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
	f.StringVar(&g.CPUs, "cpus", "", "processors of each node, such as `1500m`; no limit by default")
	f.StringVar(&g.Memory, "memory", "", "memory of each node, such as `2Gi`; no limit by default")
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
	var force bool
	grace := 2 * time.Minute
	var o output
	cmd := &cobra.Command{
		Use: "remove NODE…", Aliases: []string{"rm"}, Short: "Drain nodes and take them out of the cluster for good",
		Long: "Cordon and drain nodes, then delete them with their volumes. PodDisruptionBudgets are respected while draining;\n" +
			"--force leaves the draining out, and takes a node that does not answer.",
		Example: "  kl node remove n2\n  kl node remove n2 --force",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, nodes []string) error {
			for _, n := range nodes {
				if err := nodeRemove(cmd.Context(), e, n, force, grace, o); err != nil {
					return err
				}
			}
			return nil
		},
		ValidArgsFunction: e.completeNodeArgs,
	}
	cmd.Flags().BoolVar(&force, "force", false, "do not drain")
	cmd.Flags().DurationVar(&grace, "timeout", grace, "give up draining after this `time`")
	addOutput(cmd, &o)
	return cmd
}

// nodeRemove leaves draining and the Node object to kubectl, which knows how: DaemonSets, mirror pods, budgets.
func nodeRemove(ctx context.Context, e *env, node string, force bool, timeout time.Duration, o output) error {
	_, d, err := e.host(nil).Node(ctx, e.name, node)
	if err != nil {
		return err
	}
	if err := d.Close(); err != nil {
		return err
	}
	if !force {
		err := e.kubectl(ctx, "drain", node, "--ignore-daemonsets", "--delete-emptydir-data", "--force", "--timeout="+timeout.String())
		if err != nil {
			return &cluster.Error{Op: "drain node", Node: node, Err: err, Hint: "see what holds it up with 'kl kubectl get pods -A -o wide', or use --force"}
		}
	}
	err = e.withProgress(o, fmt.Sprintf("Node %s is removed.", node), func(h *host.Host) error { return h.RemoveNode(ctx, e.name, node) })
	if err != nil {
		return err
	}
	if err := e.kubectl(ctx, "delete", "node", node, "--ignore-not-found"); err != nil {
		return &cluster.Error{Op: "delete Node object", Node: node, Err: err, Hint: "'kl kubectl delete node " + node + "' once the API answers"}
	}
	return nil
}

// kubectl runs the built-in kubectl as a child, its words going to the error stream.
func (e *env) kubectl(ctx context.Context, args ...string) error {
	engine, environ, err := e.kubectlProgram(ctx)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, engine, append([]string{"kubectl"}, args...)...)
	cmd.Env, cmd.Stdout, cmd.Stderr = environ, e.Err, e.Err
	return cmd.Run()
}
