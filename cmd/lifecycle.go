package cmd

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/spf13/cobra"

	"github.com/klkube/kl/cluster/host"
)

func newStopCmd(e *env) *cobra.Command {
	return newClusterVerb(e, "stop", "Stop the cluster and keep its data",
		"Stop the cluster: its nodes, then its control plane. The data in etcd, volumes, images and the identities and\n"+
			"addresses of the nodes are kept; 'kl start' starts the cluster again.", "is stopped", (*host.Host).Stop)
}

func newPauseCmd(e *env) *cobra.Command {
	return newClusterVerb(e, "pause", "Freeze the cluster so that it uses no CPU",
		"Freeze all processes of the cluster. They keep their memory and use no CPU until 'kl resume'.",
		"is paused", (*host.Host).Pause)
}

func newResumeCmd(e *env) *cobra.Command {
	return newClusterVerb(e, "resume", "Resume a paused cluster",
		"Resume a paused cluster where it was frozen. This does nothing to a running cluster.", "is running", (*host.Host).Resume)
}

// newClusterVerb returns a command that does one thing to the whole cluster and then prints that the cluster is done.
func newClusterVerb(e *env, use, short, long, done string, do func(*host.Host, context.Context, string) error) *cobra.Command {
	var o output
	cmd := &cobra.Command{
		Use: use, Short: short, Long: long,
		Example: fmt.Sprintf("  kl %s\n  kl %s --name big", use, use),
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return e.withProgress(o, fmt.Sprintf("Cluster %s %s.", e.name, done), func(h *host.Host) error {
				return do(h, cmd.Context(), e.name)
			})
		},
	}
	addOutput(cmd, &o)
	return cmd
}

// withProgress shows the progress of f and, if it succeeds, prints done.
func (e *env) withProgress(o output, done string, f func(*host.Host) error) error {
	progress := e.progress(o)
	err := f(e.host(progress.Event))
	progress.Close()
	if err == nil && !o.isJSON() {
		fmt.Fprintln(e.Out, done)
	}
	return err
}

// notifyReady is sd_notify(3): systemd's socket is a path, or an abstract name after "@". Without one it does nothing.
func notifyReady(ctx context.Context, socket string) error {
	if socket == "" {
		return nil
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unixgram", socket)
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = conn.Write([]byte("READY=1"))
	return err
}

func newStartCmd(e *env) *cobra.Command {
	var opts host.UpOptions
	var foreground bool
	var o output
	cmd := &cobra.Command{
		Use: "start", Short: "Start a stopped cluster",
		Long: "Start a cluster that was stopped by 'kl stop' or a reboot, and wait until it is ready. This is 'kl up' for a\n" +
			"cluster that exists; it never creates one.",
		Example: "  kl start\n  kl start --name big --timeout 1m",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			progress := e.progress(o)
			result, err := e.host(progress.Event).Start(cmd.Context(), e.name, opts)
			progress.Close()
			if err != nil {
				return errors.Join(err, e.printFailure(o, err))
			}
			if err := e.printResult(o, result); err != nil || !foreground {
				return err
			}
			if err := notifyReady(cmd.Context(), e.Getenv("NOTIFY_SOCKET")); err != nil {
				return fmt.Errorf("tell systemd that the cluster is ready: %w", err)
			}
			return host.Attend(cmd.Context(), e.layout())
		},
	}
	cmd.Flags().BoolVar(&foreground, "foreground", false, "stay until the cluster stops; fail if it dies. This is for service managers")
	cmd.Flags().DurationVar(&opts.Timeout, "timeout", host.DefaultTimeout, "give up after this `time`")
	addOutput(cmd, &o)
	return cmd
}
