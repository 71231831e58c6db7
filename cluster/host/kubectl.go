package host

import (
	"bytes"
	"context"
	"errors"

	"github.com/klkube/kl/cluster"
)

// kubectl runs kubectl on the cluster. Each line that it prints becomes a message of the step; log is the last of them.
func (c *change) kubectl(ctx context.Context, step string, args ...string) (log []string, err error) {
	if c.host.Kubectl == nil {
		return nil, errors.New("kubectl is not available")
	}
	w := &lineWriter{line: func(line string) {
		c.steps.say(step, cluster.StepRunning, line)
		log = append(log, line)
		log = log[max(0, len(log)-logLines):]
	}}
	err = c.host.Kubectl(ctx, c.layout, w, args...)
	w.flush()
	return log, err
}

// lineWriter passes on what is written to it line by line.
type lineWriter struct {
	line    func(string)
	pending []byte
}

func (w *lineWriter) Write(p []byte) (int, error) {
	w.pending = append(w.pending, p...)
	for {
		line, rest, ok := bytes.Cut(w.pending, []byte("\n"))
		if !ok {
			return len(p), nil
		}
		w.line(string(line))
		w.pending = rest
	}
}

// flush passes on a last line that has no end.
func (w *lineWriter) flush() {
	if len(w.pending) > 0 {
		w.line(string(w.pending))
		w.pending = nil
	}
}
