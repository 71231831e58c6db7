package cmd

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/klkube/kl/cluster/host"

	"github.com/spf13/cobra"
)

func newStopCmd(e *env) *cobra.Command {
	return verb(e, "stop", "Turn the cluster off and keep all of it",
		"Turn the cluster off: its nodes, then its control plane. etcd, volumes, images and the nodes' identities and\n"+
			"addresses stay; 'kl start' brings all of it back.", "is stopped", (*host.Host).Stop)
}

func newPauseCmd(e *env) *cobra.Command {
	return verb(e, "pause", "Freeze the cluster: no CPU, nothing lost, back in a moment",
		"Freeze every process of the cluster where it stands. It keeps its memory and uses no CPU until 'kl resume'.",
		"is paused", (*host.Host).Pause)
}

func newResumeCmd(e *env) *cobra.Command {
	return verb(e, "resume", "Let a paused cluster go on",
		"Let a paused cluster go on where it stood. A cluster that runs is left alone.", "is running", (*host.Host).Resume)
}

// verb is a command that does one thing to a whole cluster.
func verb(e *env, use, short, long, done string, do func(*host.Host, context.Context, string) error) *cobra.Command {
	var o output
	cmd := &cobra.Command{
		Use: use, Short: short, Long: long,
		Example: fmt.Sprintf("  kl %s\n  kl %s --name big", use, use),
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return e.during(o, fmt.Sprintf("Cluster %s %s.", e.name, done), func(h *host.Host) error {
				return do(h, cmd.Context(), e.name)
			})
		},
	}
	addOutput(cmd, &o)
	return cmd
}

// during shows the progress of f, and then says that it is done.
func (e *env) during(o output, done string, f func(*host.Host) error) error {
	progress := e.progress(o)
	err := f(e.host(progress.Event))
	progress.Close()
	if err == nil && !o.isJSON() {
		fmt.Fprintln(e.Out, done)
	}
	return err
}

func newStartCmd(e *env) *cobra.Command {
	var opts host.UpOptions
	var o output
	cmd := &cobra.Command{
		Use: "start", Short: "Bring a stopped cluster back",
		Long: "Bring a stopped cluster back, after 'kl stop' or a reboot, and wait until it is ready. It does what 'kl up'\n" +
			"does for a cluster that exists, and never makes one.",
		Example: "  kl start\n  kl start --name big --timeout 1m",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			progress := e.progress(o)
			result, err := e.host(progress.Event).Start(cmd.Context(), e.name, opts)
			progress.Close()
			switch {
			case err != nil:
				return err
			case o.isJSON():
				return json.NewEncoder(e.Out).Encode(map[string]any{"result": result})
			}
			printResult(e.Out, result)
			return nil
		},
	}
	cmd.Flags().DurationVar(&opts.Timeout, "timeout", host.DefaultTimeout, "give up after this `time`")
	addOutput(cmd, &o)
	return cmd
}
