package boot

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"syscall"
)

// Children is the [Processes] of the running system. It waits for all children of the process, so that os/exec must not be used
// at the same time.
type Children struct {
	exits chan Exit
}

var _ Processes = (*Children)(nil)

// NewChildren starts to reap children, until ctx is done. ctx must outlive the supervisor's Run.
func NewChildren(ctx context.Context) *Children {
	c := &Children{exits: make(chan Exit)}
	signals := make(chan os.Signal, 1) // signals coalesce, so each one makes reap collect all children
	signal.Notify(signals, syscall.SIGCHLD)
	go func() {
		defer signal.Stop(signals)
		for {
			if !c.reap(ctx) {
				return
			}
			select {
			case <-signals:
			case <-ctx.Done():
				return
			}
		}
	}()
	return c
}

// reap collects every child that has ended. It returns false if ctx ends meanwhile.
func (c *Children) reap(ctx context.Context) bool {
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
			continue
		case err != nil || pid <= 0:
			return true // no child, or none that has ended
		}
		select {
		case c.exits <- Exit{PID: pid, Status: status}:
		case <-ctx.Done():
			return false
		}
	}
}

// Exits implements Processes.
func (c *Children) Exits() <-chan Exit { return c.exits }

// Signal implements Processes.
func (c *Children) Signal(pid int, sig syscall.Signal) error { return syscall.Kill(pid, sig) }

// Start implements Processes. The child leads a session of its own.
func (c *Children) Start(p Program) (int, error) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return 0, err
	}
	defer null.Close()
	out := p.Output.Fd()
	return syscall.ForkExec(p.Path, append([]string{p.Path}, p.Args...), &syscall.ProcAttr{
		Dir:   "/",
		Env:   p.Env,
		Files: []uintptr{null.Fd(), out, out},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
}
