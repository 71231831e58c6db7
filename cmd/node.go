package cmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/klkube/kl/cluster"
)

func newNodeCmd(e *env) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "node",
		Short:   "List, add, remove, stop and partition nodes, or open a shell in one",
		Example: "  kl node list\n  kl node shell n1\n  kl node add --cpus 2 --memory 4Gi\n  kl node partition n2",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newNodeListCmd(e), newNodeShellCmd(e))
	cmd.AddCommand(nodeVerbs(e)...)
	return cmd
}

func newNodeListCmd(e *env) *cobra.Command {
	var o output
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List the nodes of the cluster",
		Example: "  kl node list\n  kl node list --name big -o json",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return nodeList(cmd.Context(), e, o) },
	}
	addOutput(cmd, &o)
	return cmd
}

func nodeList(ctx context.Context, e *env, o output) error {
	info, err := e.host(nil).Inspect(ctx, e.name)
	if err != nil {
		return err
	}
	rows := nodeRows(ctx, e, info)
	for _, p := range info.Problems {
		fmt.Fprintln(e.Err, "kl:", p)
	}
	if o.isJSON() {
		return printJSON(e.Out, rows)
	}
	if len(rows) == 0 {
		fmt.Fprintf(e.Err, "Cluster %s has no nodes.\n", e.name)
		return nil
	}
	return table(e.Out, nodeTable(rows, time.Now()))
}

func newNodeShellCmd(e *env) *cobra.Command {
	return &cobra.Command{
		Use:   "shell NODE [-- COMMAND…]",
		Short: "Open a shell in a node, or run a command there",
		Long: "Open a root shell in a node, or run a command there. The exit code is the command's. The command gets a\n" +
			"terminal if standard input and output are one.",
		Example: "  kl node shell n1\n  kl node shell n1 -- ip route",
		Args: func(cmd *cobra.Command, args []string) error {
			if dash := cmd.ArgsLenAtDash(); len(args) == 0 || dash == 0 || (dash < 0 && len(args) > 1) {
				return errors.New("want one node, and a command only after --")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return nodeShell(cmd.Context(), e, args[0], args[1:])
		},
		ValidArgsFunction: func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveDefault
			}
			return e.completeNodes(cmd.Context())
		},
	}
}

// completeNodes completes names of the cluster's nodes.
func (e *env) completeNodes(ctx context.Context) ([]string, cobra.ShellCompDirective) {
	info, err := e.host(nil).Inspect(ctx, e.name)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var names []string
	for _, n := range info.Nodes {
		names = append(names, n.Name)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

func nodeShell(ctx context.Context, e *env, name string, command []string) error {
	n, d, err := e.host(nil).Node(ctx, e.name, name)
	if err != nil {
		return err
	}
	defer d.Close()
	execer, ok := d.(cluster.Execer)
	if !ok {
		return &cluster.Error{Op: "open a shell", Node: name, Err: fmt.Errorf("driver %s cannot run commands in a node", d.Name())}
	}
	if len(command) == 0 {
		command = []string{"/bin/sh"}
	}
	return runInNode(ctx, e, execer, n, command)
}

// runInNode runs a command in a node with the streams of this process. The command gets a terminal if input and output are one.
func runInNode(ctx context.Context, e *env, x cluster.Execer, n cluster.Node, command []string) error {
	spec := cluster.ExecSpec{Cmd: command, Stdin: e.In, Stdout: e.Out, Stderr: e.Err}
	if isTerminal(e.In) && isTerminal(e.Out) {
		restore, err := takeTerminal(e.In.(*os.File), e.Out.(*os.File), &spec)
		if err != nil {
			return fmt.Errorf("set up terminal: %w", err)
		}
		defer restore()
	}
	code, err := x.Exec(ctx, n, spec)
	if err != nil {
		return &cluster.Error{Op: "run " + command[0], Node: n.Name, Err: err}
	}
	if code != 0 {
		return exitError(code)
	}
	return nil
}

// takeTerminal puts the terminal into raw mode, so that every key, Ctrl-C too, reaches the command in the node, and has
// spec.Resize report the terminal's size and its changes. restore undoes both.
func takeTerminal(in io.Reader, out *os.File, spec *cluster.ExecSpec) (restore func(), err error) {
	fd := int(in.(*os.File).Fd())
	state, err := term.MakeRaw(fd)
	if err != nil {
		return nil, err
	}
	sizes := make(chan cluster.TermSize, 1)
	changed := make(chan os.Signal, 1)
	stop := make(chan struct{})
	signal.Notify(changed, syscall.SIGWINCH)
	go func() {
		defer close(sizes)
		for {
			if w, h, err := term.GetSize(int(out.Fd())); err == nil {
				select {
				case sizes <- cluster.TermSize{Width: uint(w), Height: uint(h)}:
				case <-stop:
					return
				}
			}
			select {
			case <-changed:
			case <-stop:
				return
			}
		}
	}()
	spec.TTY, spec.Resize = true, sizes
	return func() {
		signal.Stop(changed)
		close(stop)
		_ = term.Restore(fd, state) // nothing can be done if the terminal is gone
	}, nil
}
