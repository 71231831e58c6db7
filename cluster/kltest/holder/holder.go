// Package holder ties a cluster to the life of another process, its owner. A holder is kl itself, started by the owner in a
// session of its own. It brings the cluster up, unless the owner does, and takes it down when its standard input ends: the owner
// holds the other end of that pipe, and the kernel closes it however the owner ends, killed or by a panic.
//
// main has
//
//	if len(os.Args) > 1 && os.Args[1] == holder.Command {
//		os.Exit(holder.Run(program, os.Args[2:], os.Stdin, os.Stdout, os.Stderr))
//	}
//
// and an owner
//
//	held, err := holder.Start(ctx, "kl", os.Environ(), holder.Plan{Dir: dir, Up: []string{"up", "--name", "x"}, Down: []string{"down", "--name", "x"}})
//	...
//	err = held.Stop()
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
	"slices"
	"strings"
	"syscall"
	"time"
)

// Command is the first argument of a holder. Those of a Plan follow.
const Command = "hold-cluster"

// Ready is the line that a holder writes when the cluster is up. It writes nothing else to its standard output.
const Ready = "ready\n"

// keep is what an owner writes before it closes the pipe if the cluster is to stay.
const keep = "keep\n"

// downTimeout bounds the removal of the cluster.
const downTimeout = time.Minute

var (
	errOwnerGone = errors.New("the owner of the cluster has ended")
	errKept      = errors.New("the cluster stays")
)

// Plan is what a holder does.
type Plan struct {
	Dir  string   // a directory that is removed after the cluster, and stays as long as that cannot be removed
	Down []string // arguments of kl that take the cluster down, however much of it there is
	Up   []string // arguments of kl that bring it up; empty if the owner does that itself
}

// separator is between Down and Up in the arguments of a holder.
const separator = "--"

func (p Plan) arguments() []string {
	return slices.Concat([]string{Command, p.Dir}, p.Down, []string{separator}, p.Up)
}

// parse is the inverse of arguments, without Command.
func parse(args []string) (Plan, bool) {
	end := slices.Index(args, separator)
	if end < 2 {
		return Plan{}, false
	}
	return Plan{Dir: args[0], Down: args[1:end], Up: args[end+1:]}, true
}

// Run is the holder's main function; program is kl, and args are what follows Command. It returns the exit code once the cluster
// and the directory are gone: 1 if the cluster did not come up or could not be removed. The reason is on errOut.
func Run(program string, args []string, in io.Reader, out, errOut io.Writer) int {
	plan, ok := parse(args)
	if !ok {
		fmt.Fprintf(errOut, "usage: kl %s DIRECTORY down ... %s [up ...]\n", Command, separator)
		return 2
	}
	// Nobody may read what it writes any more. Ignored signals would stay ignored in the cluster's processes.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP, syscall.SIGPIPE)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		said, _ := io.ReadAll(in)
		if string(said) == keep {
			cancel(errKept)
		}
		cancel(errOwnerGone)
	}()
	if err := plan.hold(ctx, program, out); err != nil {
		fmt.Fprintln(errOut, err)
		return 1
	}
	return 0
}

// hold brings the cluster up and takes it down when ctx ends, also while it comes up.
func (p Plan) hold(ctx context.Context, program string, out io.Writer) error {
	var err error
	if len(p.Up) > 0 {
		err = run(ctx, program, nil, p.Up)
	}
	switch {
	case err != nil && ctx.Err() == nil:
		return errors.Join(err, os.RemoveAll(p.Dir)) // it has cleaned up
	case err == nil:
		if _, err := io.WriteString(out, Ready); err == nil {
			<-ctx.Done()
		}
	}
	if errors.Is(context.Cause(ctx), errKept) {
		return nil
	}
	return p.takeDown(context.WithoutCancel(ctx), program, nil)
}

func (p Plan) takeDown(ctx context.Context, program string, environ []string) error {
	ctx, cancel := context.WithTimeout(ctx, downTimeout)
	defer cancel()
	if err := run(ctx, program, environ, p.Down); err != nil {
		return err
	}
	return os.RemoveAll(p.Dir)
}

// run runs kl, with the environment of this process if environ is nil. When ctx ends, kl gets an interrupt, as by Ctrl-C, so that it cleans up.
func run(ctx context.Context, program string, environ, args []string) error {
	var output bytes.Buffer
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = environ
	cmd.Stdout, cmd.Stderr = &output, &output
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = downTimeout
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("kl %s: %w\n%s", strings.Join(args, " "), err, output.String())
	}
	return nil
}
