package cmd

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/klkube/kl/cluster"
)

func newCrictlCmd(e *env) *cobra.Command {
	return &cobra.Command{
		DisableFlagsInUseLine: true,

		Use:   "crictl [--name NAME] [--node NODE] COMMAND…",
		Short: "Run the built-in crictl against a node's container runtime",
		Long: "Run the built-in crictl in a node, against its container runtime: pods, containers, images, statistics and\n" +
			"events as the kubelet sees them. All arguments are passed to crictl, except a --name or --node that comes\n" +
			"first. Without --node the cluster's first node is asked. 'kl crictl help' lists the commands; files that\n" +
			"they read or write are the node's. It needs no control plane. A pod that crictl makes is removed by the\n" +
			"kubelet, which does not know it.",
		Example: "  kl crictl ps\n  kl crictl --node n2 stats\n  kl crictl --node n2 exec -it CONTAINER sh",
		// Flags belong to crictl, and some of its commands have a --name too.
		DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 && (args[0] == "--help" || args[0] == "-h") {
				return cmd.Help()
			}
			node, args, err := e.takeNode(args)
			if err != nil {
				return misuse(cmd, err)
			}
			return crictl(cmd.Context(), e, node, args)
		},
		ValidArgsFunction: func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			return completeCrictl(cmd.Context(), e, args)
		},
	}
}

// takeNode removes --name and --node from the front of crictl's arguments. It sets the cluster's name, and returns the node's,
// which is empty if there is none.
func (e *env) takeNode(args []string) (node string, rest []string, err error) {
	rest, err = takeFlags(args, map[string]func(string) error{
		"--name": e.useName,
		"--node": func(value string) error {
			node = value
			if value == "" {
				return fmt.Errorf("--node is empty: 'kl node list' shows the nodes")
			}
			return nil
		},
	})
	if err != nil {
		return "", nil, err
	}
	// Behind exec it may be a flag of the command to run.
	i := slices.IndexFunc(rest, func(a string) bool { return a == "exec" || a == "--node" || strings.HasPrefix(a, "--node=") })
	if i >= 0 && rest[i] != "exec" {
		return "", nil, &cluster.Error{
			Op: "kl crictl", Err: fmt.Errorf("crictl has no flag --node"), Hint: "put the node first: kl crictl --node NODE COMMAND…",
		}
	}
	return node, rest, nil
}

func crictl(ctx context.Context, e *env, node string, args []string) error {
	n, d, err := e.host(nil).Runtime(ctx, e.name, node)
	if err != nil {
		return err
	}
	defer d.Close()
	return runInNode(ctx, e, d, n, append([]string{"crictl"}, args...))
}

// completeCrictl completes the value of --node and, as the first word, crictl's own commands and flags.
func completeCrictl(ctx context.Context, e *env, args []string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 && args[len(args)-1] == "--name" {
		return e.completeClusters(nil, nil, "")
	}
	if len(args) > 0 && args[len(args)-1] == "--node" {
		if _, err := takeFlags(args[:len(args)-1], map[string]func(string) error{"--name": e.useName}); err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		return e.completeNodes(ctx)
	}
	node, rest, err := e.takeNode(args)
	if err != nil || len(rest) > 0 {
		return nil, cobra.ShellCompDirectiveDefault
	}
	n, d, err := e.host(nil).Runtime(ctx, e.name, node)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	defer d.Close()
	var out bytes.Buffer
	code, err := d.Exec(ctx, n, cluster.ExecSpec{Cmd: []string{"crictl", "completion", "bash"}, Stdout: &out})
	if err != nil || code != 0 {
		return nil, cobra.ShellCompDirectiveError
	}
	// The script has the words in opts="…", one a line.
	_, words, _ := strings.Cut(out.String(), `opts="`)
	words, _, _ = strings.Cut(words, `"`)
	return append(strings.Fields(words), "--node"), cobra.ShellCompDirectiveNoFileComp
}
