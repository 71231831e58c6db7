//go:build linux

package native

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/statefile"
)

// Exec runs a command in a node. When ctx ends the command is killed.
func (d *Driver) Exec(ctx context.Context, n cluster.Node, cmd cluster.ExecSpec) (int, error) {
	code, err := d.exec(ctx, d.bundle(n.Cluster, n.Name), cmd)
	if err != nil {
		return 0, fmt.Errorf("exec in node %s: %w", n.Name, err)
	}
	return code, nil
}

func (d *Driver) exec(ctx context.Context, b bundle, spec cluster.ExecSpec) (int, error) {
	r, c, err := b.inspect()
	if err != nil {
		return 0, err
	}
	if c.Status != "running" {
		return 0, fmt.Errorf("the node is %s", strings.ToLower(string(stateOf(c))))
	}
	dir, err := os.MkdirTemp("", "kl-exec-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	process, pidFile := filepath.Join(dir, "process.json"), filepath.Join(dir, "pid")
	var size cluster.TermSize // if it is known already, the command starts with it
	select {
	case size = <-spec.Resize:
	default:
	}
	if err := b.writeProcess(process, spec, size); err != nil {
		return 0, err
	}
	cmd := r.runc(b.scope()).command(ctx, "exec", "--process", process, "--pid-file", pidFile, b.name())
	cmd.Cancel = func() error { return killCommand(cmd, pidFile) }
	if spec.TTY {
		err = runOnTerminal(ctx, cmd, spec, size)
	} else {
		err = runPlain(cmd, spec)
	}
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return 0, ctx.Err()
	case errors.As(err, &exit):
		return exit.ExitCode(), nil
	}
	return 0, err
}

// writeProcess writes a command for runc. It gets the capabilities of the node's init.
func (b bundle) writeProcess(file string, cmd cluster.ExecSpec, size cluster.TermSize) error {
	var config specs.Spec
	if err := statefile.ReadJSON(b.config(), &config); err != nil {
		return b.damaged(b.config(), err)
	}
	p := config.Process
	if p == nil {
		return b.damaged(b.config(), errors.New("has no process"))
	}
	p.Args, p.Terminal = cmd.Cmd, cmd.TTY
	if cmd.TTY {
		p.Env = append(p.Env, "TERM=xterm-256color")
		p.ConsoleSize = &specs.Box{Height: size.Height, Width: size.Width}
	}
	data, err := json.Marshal(p)
	if err != nil {
		return err
	}
	return os.WriteFile(file, data, 0o600)
}

// killCommand kills runc and the command it started: the death of runc alone would leave the command running.
func killCommand(cmd *exec.Cmd, pidFile string) error {
	if text, err := statefile.Read(pidFile); err == nil {
		if pid, err := strconv.Atoi(strings.TrimSpace(string(text))); err == nil {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
	}
	return cmd.Process.Kill()
}

// runPlain runs a command without a terminal. Unlike cmd.Run it does not wait for the end of Stdin.
func runPlain(cmd *exec.Cmd, spec cluster.ExecSpec) error {
	cmd.Stdout, cmd.Stderr = spec.Stdout, spec.Stderr
	if spec.Stdin != nil {
		in, err := cmd.StdinPipe()
		if err != nil {
			return err
		}
		go func() { // outlives the command only in a Read of the caller's Stdin
			_, _ = io.Copy(in, spec.Stdin)
			_ = in.Close()
		}()
	}
	return cmd.Run()
}

// runOnTerminal runs runc on a new terminal, which runc connects to the one it makes in the node.
func runOnTerminal(ctx context.Context, cmd *exec.Cmd, spec cluster.ExecSpec, size cluster.TermSize) error {
	master, slave, err := openTerminal()
	if err != nil {
		return fmt.Errorf("open a terminal: %w", err)
	}
	defer master.Close()
	defer slave.Close()
	resize(master, size) // runc copies the size to the node's terminal
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	slave.Close() // so that reading ends when runc does
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		for {
			select {
			case s, ok := <-spec.Resize:
				if !ok {
					return
				}
				resize(master, s)
			case <-stop:
				return
			case <-ctx.Done():
				return
			}
		}
	}()
	if spec.Stdin != nil {
		go func() {
			_, _ = io.Copy(master, spec.Stdin)
			_, _ = master.Write([]byte{4}) // ^D
		}()
	}
	out := spec.Stdout
	if out == nil {
		out = io.Discard
	}
	_, copyErr := io.Copy(out, master)
	if errors.Is(copyErr, unix.EIO) { // what reading a terminal returns once its other end is closed
		copyErr = nil
	}
	return errors.Join(cmd.Wait(), copyErr)
}

func resize(terminal *os.File, s cluster.TermSize) {
	raw, err := terminal.SyscallConn() // not Fd, which would make reading block for ever
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		_ = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Row: uint16(s.Height), Col: uint16(s.Width)})
	})
}

// openTerminal opens a pseudo-terminal in raw mode.
func openTerminal() (master, slave *os.File, err error) {
	if master, err = os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
		return nil, nil, err
	}
	raw, err := master.SyscallConn()
	if err != nil {
		return nil, nil, errors.Join(err, master.Close())
	}
	var number int
	var callErr error
	err = raw.Control(func(fd uintptr) {
		if callErr = unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0); callErr == nil {
			number, callErr = unix.IoctlGetInt(int(fd), unix.TIOCGPTN)
		}
	})
	if err = errors.Join(err, callErr); err != nil {
		return nil, nil, errors.Join(err, master.Close())
	}
	slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, nil, errors.Join(err, master.Close())
	}
	if err := makeRaw(int(slave.Fd())); err != nil {
		return nil, nil, errors.Join(err, slave.Close(), master.Close())
	}
	return master, slave, nil
}

// makeRaw puts a terminal in raw mode, as cfmakeraw(3) does. runc does that too, but input may arrive before it has.
func makeRaw(fd int) error {
	t, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return err
	}
	t.Iflag &^= unix.IGNBRK | unix.BRKINT | unix.PARMRK | unix.ISTRIP | unix.INLCR | unix.IGNCR | unix.ICRNL | unix.IXON
	t.Oflag &^= unix.OPOST
	t.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
	t.Cflag = t.Cflag&^(unix.CSIZE|unix.PARENB) | unix.CS8
	t.Cc[unix.VMIN], t.Cc[unix.VTIME] = 1, 0
	return unix.IoctlSetTermios(fd, unix.TCSETS, t)
}
