package host

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strings"

	"github.com/klkube/kl/cluster"
)

// check has the engine judge what a Spec passes on to Kubernetes' components, as they will when they start. Nothing is
// started or changed. The cluster's certificates exist.
func check(ctx context.Context, l cluster.Layout, s cluster.Spec, p cluster.Payload) error {
	spec, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("encode cluster.yaml: %w", err)
	}
	if err := ask(ctx, p.Engine, spec, string(cluster.ControlPlane), l.Dir()); err != nil {
		return err // the nodes would say the same once more
	}
	nodes, err := nodeSpecs(s, l, p)
	if err != nil {
		return err
	}
	if len(nodes) > 0 { // they are alike in what is judged
		node, err := json.Marshal(nodeConfig(s, nodes[0]))
		if err != nil {
			return fmt.Errorf("encode node.json: %w", err)
		}
		return ask(ctx, p.Engine, node, "node")
	}
	return nil
}

// ask runs the engine's check role.
func ask(ctx context.Context, engine string, input []byte, what ...string) error {
	var out, log bytes.Buffer
	cmd := exec.CommandContext(ctx, engine, append([]string{"check"}, what...)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(input), &out, &log
	err := cmd.Run()
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	if text := strings.TrimSpace(out.String()); text != "" {
		return errors.New(strings.ReplaceAll(text, "\n", "; "))
	}
	e := &cluster.Error{Op: "check configuration", Err: err}
	if text := strings.TrimSpace(log.String()); text != "" {
		lines := strings.Split(text, "\n")
		e.Log = lines[max(0, len(lines)-logLines):]
	}
	return e
}

// passesOn reports whether a Spec has anything that Kubernetes' components judge.
func passesOn(s cluster.Spec) bool {
	k := s.Kubernetes
	return len(k.FeatureGates)+len(k.RuntimeConfig)+len(k.ExtraArgs)+len(k.KubeletPatch) > 0 || k.Scheduler != "" || s.Audit != cluster.Audit{}
}
