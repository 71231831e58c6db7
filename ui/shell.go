package ui

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	tea "github.com/charmbracelet/bubbletea"
	"github.com/charmbracelet/x/term"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/remotecommand"

	"github.com/klkube/kl/cluster/observe"
	"github.com/klkube/kl/ui/kit"
)

// openShell suspends the interface and runs a shell in a container: bash if there is one, else sh.
func openShell(sh shell, p *corev1.Pod, container string) tea.Cmd {
	s := sh.session()
	name, namespace := p.Name, p.Namespace
	// The context of run ends with the session, and so does the shell.
	return s.run(func(ctx context.Context) tea.Msg {
		return execMsg{
			command: &remoteShell{ctx: ctx, act: s.act, options: observe.ExecOptions{
				Namespace: namespace, Pod: name, Container: container, TTY: true,
				Command: []string{"/bin/sh", "-c", "command -v bash >/dev/null && exec bash || exec sh"},
			}},
			ended: func(err error) tea.Msg {
				if err != nil && lacksShell(err) {
					return dialogMsg{debugPrompt(sh, namespace, name, container)}
				}
				return ended(err)
			},
		}
	})
}

// lacksShell reports whether a container could not run /bin/sh because its image has none.
func lacksShell(err error) bool {
	text := err.Error()
	return strings.Contains(text, `"/bin/sh"`) && (strings.Contains(text, "no such file") || strings.Contains(text, "not found"))
}

// debugPrompt offers a debug container for one whose image has no shell.
func debugPrompt(sh shell, namespace, pod, container string) kit.Dialog {
	s := sh.session()
	return kit.NewPrompt("The image of "+container+" has no shell", "IMAGE of a debug container to add to the pod, such as busybox", "busybox", func(v string) error {
		if v == "" || strings.ContainsAny(v, " \t") || strings.HasPrefix(v, "-") {
			return errors.New("enter the name of an image")
		}
		return nil
	}, func(image string) tea.Cmd {
		return s.run(func(ctx context.Context) tea.Msg {
			if s.kubectl == nil {
				return toastMsg{"there is no kubectl here to add a debug container", observe.Bad}
			}
			command, err := s.kubectl(ctx, s.target, []string{"debug", "-it", "-n", namespace, pod, "--target=" + container, "--image=" + image, "--", "sh"})
			if err != nil {
				return toastMsg{err.Error(), observe.Bad}
			}
			return localMsg{command}
		})
	})
}

// execMsg asks the model to hand the terminal to a command. Its end becomes the message that ended returns.
type execMsg struct {
	command tea.ExecCommand
	ended   func(error) tea.Msg
}

// localMsg asks the model to hand the terminal to a local program.
type localMsg struct{ command *exec.Cmd }

// ended is the toast after a shell.
func ended(err error) tea.Msg {
	if err != nil {
		return toastMsg{"the shell ended: " + err.Error(), observe.Warn}
	}
	return toastMsg{"the shell ended", observe.Idle}
}

// remoteShell runs a shell in a container.
type remoteShell struct {
	ctx     context.Context // of the session: Run of a tea.ExecCommand takes none
	act     *observe.Actions
	options observe.ExecOptions
}

var _ tea.ExecCommand = (*remoteShell)(nil)

// SetStdin implements tea.ExecCommand.
func (r *remoteShell) SetStdin(in io.Reader) { r.options.Stdin = in }

// SetStdout implements tea.ExecCommand.
func (r *remoteShell) SetStdout(out io.Writer) { r.options.Stdout = out }

// SetStderr implements tea.ExecCommand.
func (r *remoteShell) SetStderr(out io.Writer) { r.options.Stderr = out }

// Run runs the shell with the terminal in raw mode and always restores the terminal.
func (r *remoteShell) Run() error {
	ctx, cancel := context.WithCancel(r.ctx)
	defer cancel()
	in, ok := r.options.Stdin.(*os.File)
	if !ok || !term.IsTerminal(in.Fd()) {
		r.options.TTY = false
		return r.act.Exec(ctx, r.options)
	}
	old, err := term.MakeRaw(in.Fd())
	if err != nil {
		return err
	}
	defer func() { _ = term.Restore(in.Fd(), old) }()
	r.options.Resize = &sizes{ctx: ctx, fd: in.Fd()}
	return r.act.Exec(ctx, r.options)
}

// sizes reports the size of the terminal when it changes. It polls twice a second, because not every system has a signal
// for that.
type sizes struct {
	ctx  context.Context
	fd   uintptr
	last remotecommand.TerminalSize
}

// Next implements remotecommand.TerminalSizeQueue.
func (s *sizes) Next() *remotecommand.TerminalSize {
	for {
		w, h, err := term.GetSize(s.fd)
		if err != nil {
			return nil
		}
		if now := (remotecommand.TerminalSize{Width: uint16(w), Height: uint16(h)}); now != s.last {
			s.last = now
			return &now
		}
		timer := time.NewTimer(500 * time.Millisecond)
		select {
		case <-s.ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
	}
}
