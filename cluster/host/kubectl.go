package host

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

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

// read decodes what kubectl answers as JSON.
func (c *change) read(ctx context.Context, into any, args ...string) error {
	if c.host.Kubectl == nil {
		return errors.New("kubectl is not available")
	}
	var out bytes.Buffer
	if err := c.host.Kubectl(ctx, c.layout, &out, append(args, "--output=json")...); err != nil {
		return errors.Join(err, errors.New(strings.TrimSpace(out.String())))
	}
	text := out.Bytes()
	if at := bytes.IndexByte(text, '{'); at > 0 { // after warnings
		text = text[at:]
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("read the answer of kubectl: %w", err)
	}
	return nil
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
