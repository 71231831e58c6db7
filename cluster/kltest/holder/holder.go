// Package holder ties a cluster to the life of another process, its owner. A holder is kl itself, started by the owner in a
// session of its own. It brings the cluster up, and takes it down when its standard input ends: the owner holds the other end of
// that pipe, and the kernel closes it however the owner ends, killed or by a panic.
//
//	if len(os.Args) > 1 && os.Args[1] == holder.Command {
//		os.Exit(holder.Run(program, os.Args[2:], os.Stdin, os.Stdout, os.Stderr))
//	}
package holder

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

// Command is the first argument of a holder. A directory that goes with the cluster, the cluster's name and the arguments of
// kl that bring the cluster up follow.
const Command = "hold-cluster"

// Ready is the line that a holder writes when the cluster is up. It writes nothing else to its standard output.
const Ready = "ready\n"

// downTimeout bounds the removal of the cluster.
const downTimeout = time.Minute

var errOwnerGone = errors.New("the owner of the cluster has ended")

// Run is the holder's main function; program is kl. It returns the exit code once the cluster and the directory are gone: 1 if
// the cluster did not come up or could not be removed. The reason is on errOut.
func Run(program string, args []string, in io.Reader, out, errOut io.Writer) int {
	if len(args) < 3 {
		fmt.Fprintf(errOut, "usage: kl %s DIRECTORY NAME up ...\n", Command)
		return 2
	}
	// Nobody may read what it writes any more. Ignored signals would stay ignored in the cluster's processes.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP, syscall.SIGPIPE)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		_, _ = io.Copy(io.Discard, in)
		cancel(errOwnerGone)
	}()
	if err := hold(ctx, program, args[0], args[1], args[2:], out); err != nil {
		fmt.Fprintln(errOut, err)
		return 1
	}
	return 0
}

// hold brings the cluster up and takes it down when ctx ends, also while it comes up.
func hold(ctx context.Context, program, dir, name string, up []string, out io.Writer) error {
	err := run(ctx, program, up...)
	switch {
	case err != nil && ctx.Err() == nil:
		return errors.Join(err, os.RemoveAll(dir)) // it has cleaned up
	case err == nil:
		if _, err := io.WriteString(out, Ready); err == nil {
			<-ctx.Done()
		}
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), downTimeout)
	defer cancel()
	return errors.Join(run(last, program, "down", "--name", name), os.RemoveAll(dir))
}

// run runs kl. When ctx ends, kl gets an interrupt, as by Ctrl-C, so that it cleans up.
func run(ctx context.Context, program string, args ...string) error {
	var output bytes.Buffer
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Stdout, cmd.Stderr = &output, &output
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = downTimeout
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("kl %s: %w\n%s", strings.Join(args, " "), err, output.String())
	}
	return nil
}
