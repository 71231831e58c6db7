package docker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/docker/docker/api/types"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/pkg/stdcopy"

	"github.com/klkube/kl/cluster"
)

// Exec runs a command in a node. When ctx ends Exec returns and the command's streams are closed; the engine has no way
// to end a command that does not care.
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
	made, err := d.client.ContainerExecCreate(ctx, target(n), o)
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
		go func() { // outlives the command only in a Read of the caller's Stdin
			_, _ = io.Copy(conn.Conn, cmd.Stdin)
			if cmd.TTY {
				_, _ = conn.Conn.Write([]byte{4}) // ^D; the engine drops output once a terminal's input is closed
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

// resize passes sizes of the terminal on, beginning with one that the engine may have ignored. Until the command has
// started the engine refuses, so the first size is tried for a while.
func (d *Driver) resize(ctx context.Context, id string, first *[2]uint, sizes <-chan cluster.TermSize) {
	set := func(height, width uint) error {
		return d.client.ContainerExecResize(ctx, id, container.ResizeOptions{Height: height, Width: width})
	}
	t := time.NewTicker(10 * time.Millisecond)
	defer t.Stop()
	for range 100 {
		if first == nil || set(first[0], first[1]) == nil {
			break
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return
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

// exitCode asks how the command ended. Its output may end a moment before the engine has noticed.
func (d *Driver) exitCode(ctx context.Context, id string) (int, error) {
	for {
		i, err := d.client.ContainerExecInspect(ctx, id)
		if err != nil {
			return 0, fmt.Errorf("read exit code: %w", err)
		}
		if !i.Running {
			return i.ExitCode, nil
		}
		if err := pause(ctx); err != nil {
			return 0, err
		}
	}
}
