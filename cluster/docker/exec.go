package docker

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/docker/docker/api/types"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/pkg/stdcopy"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/klkube/kl/cluster"
)

const (
	pollInterval  = 10 * time.Millisecond // how often the engine is asked for what it sends no event about
	resizeTimeout = time.Second           // for a command to start
)

// Exec runs a command in a node. When ctx ends, Exec closes the command's streams and returns. The engine cannot kill a
// command: one that ignores the end of its streams runs on.
func (d *Driver) Exec(ctx context.Context, n cluster.Node, cmd cluster.ExecSpec) (int, error) {
	code, err := d.exec(ctx, n, cmd)
	return code, wrap("exec in node "+n.Name, err)
}

func (d *Driver) exec(ctx context.Context, n cluster.Node, cmd cluster.ExecSpec) (int, error) {
	o := container.ExecOptions{
		Cmd: cmd.Cmd, Tty: cmd.TTY, AttachStdin: cmd.Stdin != nil, AttachStdout: true, AttachStderr: true,
		ConsoleSize: firstSize(cmd.Resize), // ignored by engines before API 1.42
	}
	if cmd.TTY {
		o.Env = []string{"TERM=xterm-256color"}
	}
	c, err := d.find(ctx, n)
	if err != nil {
		return 0, err
	}
	made, err := d.client.ContainerExecCreate(ctx, c.ID, o)
	if err != nil {
		return 0, err
	}
	conn, err := d.client.ContainerExecAttach(ctx, made.ID, container.ExecAttachOptions{Tty: cmd.TTY, ConsoleSize: o.ConsoleSize})
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, conn.Close) // ends both copies
	defer stop()
	if cmd.TTY {
		resizing, cancel := context.WithCancel(ctx)
		defer cancel()
		go d.resize(resizing, made.ID, o.ConsoleSize, cmd.Resize)
	}
	if cmd.Stdin != nil {
		go func() { // outlives the command only while it reads the caller's Stdin
			_, _ = io.Copy(conn.Conn, cmd.Stdin)
			if cmd.TTY {
				_, _ = conn.Conn.Write([]byte{4}) // ^D, because the engine drops output once the input of a terminal is closed
				return
			}
			_ = conn.CloseWrite()
		}()
	}
	if err := receive(conn, cmd); err != nil || ctx.Err() != nil {
		return 0, errors.Join(ctx.Err(), err)
	}
	return d.exitCode(ctx, made.ID)
}

func firstSize(sizes <-chan cluster.TermSize) *[2]uint {
	select {
	case s, ok := <-sizes:
		if ok {
			return &[2]uint{s.Height, s.Width}
		}
	default:
	}
	return nil
}

// resize sets the sizes of the terminal as they come. The first one is set again, because the engine may have ignored it,
// and retried, because the engine refuses to resize before the command has started.
func (d *Driver) resize(ctx context.Context, id string, first *[2]uint, sizes <-chan cluster.TermSize) {
	set := func(height, width uint) error {
		return d.client.ContainerExecResize(ctx, id, container.ResizeOptions{Height: height, Width: width})
	}
	if first != nil {
		err := wait.PollUntilContextTimeout(ctx, pollInterval, resizeTimeout, true, func(context.Context) (bool, error) {
			return set(first[0], first[1]) == nil, nil
		})
		if err != nil && ctx.Err() == nil {
			d.log.Debug("resize terminal", "error", err)
		}
	}
	for {
		select {
		case s, ok := <-sizes:
			if !ok {
				return
			}
			if err := set(s.Height, s.Width); err != nil && ctx.Err() == nil {
				d.log.Debug("resize terminal", "error", err)
			}
		case <-ctx.Done():
			return
		}
	}
}

// receive copies what the command writes until it ends. A terminal has one output, unframed.
func receive(conn types.HijackedResponse, cmd cluster.ExecSpec) error {
	stdout, stderr := cmd.Stdout, cmd.Stderr
	if stdout == nil {
		stdout = io.Discard
	}
	if stderr == nil {
		stderr = io.Discard
	}
	var err error
	if cmd.TTY {
		_, err = io.Copy(stdout, conn.Reader)
	} else {
		_, err = stdcopy.StdCopy(stdout, stderr, conn.Reader)
	}
	return wrap("read output", err)
}

// exitCode returns the exit code of a command. The output may end a moment before the engine has it, and the engine sends no
// event for the end of a command that has been attached to.
func (d *Driver) exitCode(ctx context.Context, id string) (code int, err error) {
	err = wait.PollUntilContextCancel(ctx, pollInterval, true, func(ctx context.Context) (bool, error) {
		i, err := d.client.ContainerExecInspect(ctx, id)
		code = i.ExitCode
		return !i.Running, wrap("read exit code", err)
	})
	return code, err
}
