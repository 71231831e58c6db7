package cmd

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/klkube/kl/ui"
)

func newWatchCmd(e *env) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "watch",
		Short:   "Watch a rollout until it is complete",
		Example: "  kl watch rollout web",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newWatchRolloutCmd(e))
	return cmd
}

func newWatchRolloutCmd(e *env) *cobra.Command {
	var f targetFlags
	var patience, timeout time.Duration
	cmd := &cobra.Command{
		Use:   "rollout [KIND/]NAME",
		Short: "Watch a rollout until it is complete",
		Long: "Watch a Deployment, StatefulSet or DaemonSet until its newest template has rolled out. A terminal shows a live\n" +
			"bar, a log one line per change. The command fails, and prints the reason, if the rollout is stuck for longer\n" +
			"than --patience.",
		Example: "  kl watch rollout web\n  kl watch rollout sts/db -n prod --timeout 5m",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return watchRollout(cmd.Context(), e, f, args[0], patience, timeout, cmd.Flags().Changed("name"))
		},
	}
	f.add(cmd, "`namespace` of the rollout (default \"default\")")
	cmd.Flags().DurationVar(&patience, "patience", 30*time.Second, "give up when the rollout has been stuck for this `time`")
	cmd.Flags().DurationVar(&timeout, "timeout", 0, "give up after this `time`; 0 means never")
	return cmd
}

// cutRollout splits [KIND/]NAME.
func cutRollout(arg string) (kind, name string, err error) {
	kind, name, ok := strings.Cut(arg, "/")
	if !ok {
		return "", arg, nil
	}
	switch strings.ToLower(kind) {
	case "deploy", "deployment", "sts", "statefulset", "ds", "daemonset":
		return kind, name, nil
	}
	return "", "", usageError{fmt.Errorf("%q has no rollout: use deploy/NAME, sts/NAME or ds/NAME", arg)}
}

func watchRollout(ctx context.Context, e *env, f targetFlags, arg string, patience, timeout time.Duration, named bool) error {
	kind, name, err := cutRollout(arg)
	if err != nil {
		return err
	}
	if f.namespace == "" {
		f.namespace = "default"
	}
	o, err := f.options(e, named)
	if err != nil {
		return err
	}
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, timeout, fmt.Errorf("watch rollout %s: not complete after %s", arg, timeout))
		defer cancel()
	}
	o.Only = true
	err = ui.WatchRollout(ctx, o, ui.WatchOptions{Kind: kind, Name: name, Patience: patience, Live: isTerminal(e.In) && isTerminal(e.Out)})
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}
