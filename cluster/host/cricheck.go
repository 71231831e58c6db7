package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/cricheck"
)

// CheckOptions select specs of the CRI validation suite by regular expressions that match their names.
type CheckOptions struct {
	Focus []string // all if empty
	Skip  []string
}

// CheckRuntime runs the CRI validation suite in a node, the first one if the name is empty, and calls progress after each spec.
// That specs fail is no error: Report.Failed counts them.
func (h *Host) CheckRuntime(ctx context.Context, clusterName, node string, o CheckOptions, progress func(cricheck.Spec)) (cricheck.Report, error) {
	n, d, err := h.Runtime(ctx, clusterName, node)
	if err != nil {
		return cricheck.Report{}, err
	}
	defer d.Close()
	r := cricheck.Report{Node: n.Name, Started: time.Now(), Specs: []cricheck.Spec{}}
	err = checkNode(ctx, d, n, o, func(s cricheck.Spec) {
		r.Add(s)
		progress(s)
	})
	r.Seconds = time.Since(r.Started).Seconds()
	if err != nil {
		return r, &cluster.Error{Op: "check container runtime", Node: n.Name, Err: err}
	}
	return r, nil
}

// checkNode runs the suite. When ctx ends, the suite's input does, whereupon it removes what it made; checkNode waits for that.
func checkNode(ctx context.Context, x cluster.Execer, n cluster.Node, o CheckOptions, use func(cricheck.Spec)) error {
	cmd := []string{"kl-critest"}
	for _, f := range o.Focus {
		cmd = append(cmd, "-focus", f)
	}
	for _, s := range o.Skip {
		cmd = append(cmd, "-skip", s)
	}
	in, stopIt := io.Pipe()
	stop := context.AfterFunc(ctx, func() { stopIt.Close() })
	defer stop()
	results, out := io.Pipe()
	read := make(chan error, 1)
	go func() {
		err := cricheck.Read(results, use)
		_, _ = io.Copy(io.Discard, results) // so that the suite can end
		read <- err
	}()
	var problem bytes.Buffer
	code, err := x.Exec(context.WithoutCancel(ctx), n, cluster.ExecSpec{Cmd: cmd, Stdin: in, Stdout: out, Stderr: &problem})
	out.Close()
	in.Close()
	readErr := <-read
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil:
		return err
	case code > 1 && problem.Len() > 0:
		return errors.New(strings.TrimSpace(problem.String()))
	case code > 1:
		return fmt.Errorf("the suite ended with exit code %d", code)
	}
	return readErr
}
