package cmd

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/klkube/kl/ui"
)

func newTopCmd(e *env) *cobra.Command {
	var f targetFlags
	var n int
	var once bool
	cmd := &cobra.Command{
		Use:   "top [pods|nodes]",
		Short: "List the pods or nodes that use the most CPU and memory",
		Long: "List the pods or nodes that use the most CPU, with their memory, requests and limits. On a terminal the list\n" +
			"is updated until you press q; otherwise, or with --once, it is printed once.",
		Example:   "  kl top\n  kl top nodes\n  kl top pods -n kube-system --once",
		Args:      cobra.MatchAll(cobra.MaximumNArgs(1), cobra.OnlyValidArgs),
		ValidArgs: []string{"pods", "nodes"},
		RunE: func(cmd *cobra.Command, args []string) error {
			return top(cmd.Context(), e, f, ui.TopOptions{
				Nodes: len(args) == 1 && args[0] == "nodes", N: n, Live: !once && isTerminal(e.In) && isTerminal(e.Out),
			}, cmd.Flags().Changed("name"))
		},
	}
	f.add(cmd, "only pods in this `namespace`")
	cmd.Flags().IntVar(&n, "rows", 20, "how many `rows` to show")
	cmd.Flags().BoolVar(&once, "once", false, "print the list once, even on a terminal")
	return cmd
}

func top(ctx context.Context, e *env, f targetFlags, to ui.TopOptions, named bool) error {
	if to.N < 1 {
		return usageError{errors.New("--rows must be at least 1")}
	}
	o, err := f.options(e, named)
	if err != nil {
		return err
	}
	return ui.Top(ctx, o, to)
}
