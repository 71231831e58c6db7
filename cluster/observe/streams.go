package observe

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/transport/spdy"
)

// LogSource names one container's log.
type LogSource struct{ Namespace, Pod, Container string }

// LogLine is one line of a container's log. If reading a source fails, its last LogLine has Err set.
type LogLine struct {
	Source LogSource
	Text   string
	Err    error
}

// LogOptions choose what of a log is read.
type LogOptions struct {
	Follow   bool
	Previous bool  // of the container's last run
	Tail     int64 // lines of each source to begin with
}

// Logs sends the lines of several containers to one channel, which is closed when all have ended or ctx is done. No line is
// dropped: if the reader is slow, the servers wait.
func (a *Actions) Logs(ctx context.Context, sources []LogSource, o LogOptions) <-chan LogLine {
	out := make(chan LogLine, 256)
	var wg sync.WaitGroup
	for _, src := range sources {
		wg.Go(func() {
			if err := a.logs(ctx, src, o, out); err != nil && ctx.Err() == nil {
				send(ctx, out, LogLine{Source: src, Err: err})
			}
		})
	}
	go func() {
		wg.Wait()
		close(out)
	}()
	return out
}

func (a *Actions) logs(ctx context.Context, src LogSource, o LogOptions, out chan<- LogLine) error {
	opts := &corev1.PodLogOptions{Container: src.Container, Follow: o.Follow, Previous: o.Previous}
	if o.Tail > 0 {
		opts.TailLines = &o.Tail
	}
	body, err := a.client.CoreV1().Pods(src.Namespace).GetLogs(src.Pod, opts).Stream(ctx)
	if err != nil {
		return fmt.Errorf("read log: %w", err)
	}
	defer body.Close()
	r := bufio.NewReaderSize(body, 64<<10)
	for {
		line, err := r.ReadString('\n')
		if line != "" && !send(ctx, out, LogLine{Source: src, Text: strings.TrimRight(line, "\r\n")}) {
			return nil
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read log: %w", err)
		}
	}
}

func send(ctx context.Context, out chan<- LogLine, l LogLine) bool {
	select {
	case <-ctx.Done():
		return false
	case out <- l:
		return true
	}
}

// ExecOptions is a command to run in a container.
type ExecOptions struct {
	Namespace, Pod, Container string
	Command                   []string
	Stdin                     io.Reader
	Stdout, Stderr            io.Writer
	TTY                       bool
	Resize                    remotecommand.TerminalSizeQueue
}

// Exec runs a command in a container until it ends or ctx is done. A command's non-zero exit is an error.
func (a *Actions) Exec(ctx context.Context, o ExecOptions) error {
	req := a.client.CoreV1().RESTClient().Post().Resource("pods").Namespace(o.Namespace).Name(o.Pod).SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{Container: o.Container, Command: o.Command, Stdin: o.Stdin != nil,
			Stdout: o.Stdout != nil, Stderr: o.Stderr != nil && !o.TTY, TTY: o.TTY}, scheme.ParameterCodec)
	ws, err := remotecommand.NewWebSocketExecutor(a.config, http.MethodGet, req.URL().String())
	if err != nil {
		return fmt.Errorf("exec in %s: %w", o.Pod, err)
	}
	sp, err := remotecommand.NewSPDYExecutor(a.config, http.MethodPost, req.URL())
	if err != nil {
		return fmt.Errorf("exec in %s: %w", o.Pod, err)
	}
	ex, err := remotecommand.NewFallbackExecutor(ws, sp, func(error) bool { return true })
	if err != nil {
		return fmt.Errorf("exec in %s: %w", o.Pod, err)
	}
	stderr := o.Stderr
	if o.TTY {
		stderr = nil
	}
	err = ex.StreamWithContext(ctx, remotecommand.StreamOptions{Stdin: o.Stdin, Stdout: o.Stdout, Stderr: stderr,
		Tty: o.TTY, TerminalSizeQueue: o.Resize})
	if err != nil {
		return fmt.Errorf("exec in %s: %w", o.Pod, err)
	}
	return nil
}

// Forward listens on 127.0.0.1 and forwards connections to a port of a pod until ctx is done or the pod is lost. If local is 0
// it is any free port; ready is called with the port in use.
func (a *Actions) Forward(ctx context.Context, namespace, pod string, local, port int, ready func(local int)) error {
	rt, upgrader, err := spdy.RoundTripperFor(a.config)
	if err != nil {
		return fmt.Errorf("forward to %s: %w", pod, err)
	}
	url := a.client.CoreV1().RESTClient().Post().Resource("pods").Namespace(namespace).Name(pod).SubResource("portforward").URL()
	var dialer = spdy.NewDialer(upgrader, &http.Client{Transport: rt}, http.MethodPost, url)
	if tunnel, err := portforward.NewSPDYOverWebsocketDialer(url, a.config); err == nil {
		dialer = portforward.NewFallbackDialer(tunnel, dialer, func(error) bool { return true })
	}
	stop, up := make(chan struct{}), make(chan struct{})
	fw, err := portforward.NewOnAddresses(dialer, []string{"127.0.0.1"}, []string{fmt.Sprintf("%d:%d", local, port)}, stop, up, io.Discard, io.Discard)
	if err != nil {
		return fmt.Errorf("forward to %s: %w", pod, err)
	}
	ended := make(chan error, 1)
	go func() { ended <- fw.ForwardPorts() }()
	for {
		select {
		case <-ctx.Done():
			close(stop)
			if err := <-ended; err != nil {
				return errors.Join(ctx.Err(), err)
			}
			return ctx.Err()
		case err := <-ended:
			if err != nil {
				return fmt.Errorf("forward to %s: %w", pod, err)
			}
			return fmt.Errorf("forward to %s: %w", pod, os.ErrClosed)
		case <-up:
			up = nil
			ports, err := fw.GetPorts()
			if err == nil && len(ports) > 0 {
				ready(int(ports[0].Local))
			}
		}
	}
}
