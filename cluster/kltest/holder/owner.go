package holder

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// Held is a cluster that a holder takes down when this process ends. Its methods are called from one goroutine.
type Held struct {
	Process *os.Process // the holder

	binary   string
	environ  []string
	plan     Plan
	cmd      *exec.Cmd
	lifeline io.WriteCloser // the holder's standard input
	output   bytes.Buffer   // of the holder; read after it has ended
}

// Start starts a holder with the kl at the path binary, and returns when the cluster is up: at once if the Plan leaves that to the
// caller. If Start fails or ctx ends meanwhile, nothing is left behind, except the directory if no holder could be started.
func Start(ctx context.Context, binary string, environ []string, p Plan) (*Held, error) {
	h := &Held{binary: binary, environ: environ, plan: p}
	// Not CommandContext: the holder ends when lifeline closes, and in a session of its own it does not see a Ctrl-C.
	h.cmd = exec.Command(binary, p.arguments()...) //nolint:noctx
	h.cmd.Env = environ
	h.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	h.cmd.Stderr = &h.output
	var err error
	if h.lifeline, err = h.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	var said io.Reader
	if len(p.Up) > 0 {
		if said, err = h.cmd.StdoutPipe(); err != nil {
			return nil, err
		}
	}
	if err := h.cmd.Start(); err != nil {
		return nil, err
	}
	h.Process = h.cmd.Process
	if said == nil {
		return h, nil // the pipe is there: it does not matter how far the holder is
	}
	if err := h.awaitReady(ctx, said); err != nil {
		return nil, err
	}
	return h, nil
}

// awaitReady waits until the holder has brought the cluster up.
func (h *Held) awaitReady(ctx context.Context, said io.Reader) error {
	stop := context.AfterFunc(ctx, func() { _ = h.lifeline.Close() })
	line, _ := bufio.NewReader(said).ReadString('\n') // its end says as much as an error
	if !stop() {
		return errors.Join(context.Cause(ctx), h.Stop()) //nolint:contextcheck // ctx has ended
	}
	if line == Ready {
		return nil
	}
	_ = h.lifeline.Close()
	err := cmp.Or(h.wait(), errors.New("it does not say that it is ready"))
	return fmt.Errorf("kl %s: %w\n%s", strings.Join(h.plan.Up, " "), err, h.output.String())
}

// Stop has the cluster taken down, and returns when it and the directory are gone. If that fails, it may be tried again.
func (h *Held) Stop() error {
	_ = h.lifeline.Close()
	if h.wait() == nil {
		return nil
	}
	// The holder failed, or was killed: the cluster may still be there.
	return h.plan.takeDown(context.Background(), h.binary, h.environ)
}

// Keep leaves the cluster and the directory to the caller, and returns when the holder has ended.
func (h *Held) Keep() error {
	_, err := io.WriteString(h.lifeline, keep)
	if err := errors.Join(err, h.lifeline.Close(), h.wait()); err != nil {
		return fmt.Errorf("leave the cluster: %w\n%s", err, h.output.String())
	}
	return nil
}

// wait waits until the holder has ended, and kills it if that takes too long.
func (h *Held) wait() error {
	late := time.AfterFunc(2*downTimeout, func() { _ = h.Process.Kill() })
	defer late.Stop()
	return h.cmd.Wait()
}
