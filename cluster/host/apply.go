package host

import (
	"context"
	"errors"

	"github.com/klkube/kl/cluster"

	"golang.org/x/sync/errgroup"
)

// StopControlPlane ends the control plane of a cluster, whose nodes run on; Up starts a new one over the data.
func (h *Host) StopControlPlane(ctx context.Context, name string) error {
	return h.change(ctx, name, "kl up", func(ctx context.Context, c *change) error {
		if pid, err := ControlPlanePID(c.layout); pid == 0 {
			return err
		}
		return c.steps.within(ctx, cluster.StepControlPlane, func() (string, error) { return "stopped", stopControlPlane(ctx, c.layout) })
	})
}

// RestartNodePrograms makes kubelet, kube-proxy and agent of every running node read their configuration anew. Containers
// run on: their shims do not belong to these programs.
func (h *Host) RestartNodePrograms(ctx context.Context, name string) error {
	return h.change(ctx, name, "kl up", func(ctx context.Context, c *change) error {
		e, ok := c.driver.(cluster.Execer)
		if !ok {
			return nil // no real nodes
		}
		return c.steps.within(ctx, cluster.StepNodePrograms, func() (string, error) {
			g, ctx := errgroup.WithContext(ctx)
			for _, n := range c.nodes {
				if n.State == cluster.NodeRunning {
					g.Go(func() error { return restartPrograms(ctx, e, n) })
				}
			}
			return "restarted", g.Wait()
		})
	})
}

// endProgram ends kl-engine node, the child of kl-init: a pod may have a process that is called the same. The node's
// busybox has no pkill.
const endProgram = `for d in /proc/[0-9]*; do
	if [ "$(tr '\0' ' ' <$d/cmdline)" = "/usr/local/bin/kl-engine node " ] && grep -q '^PPid:.1$' $d/status; then
		kill ${d#/proc/}
		exit
	fi
done 2>/dev/null
exit 1`

// restartPrograms ends the node's program; kl-init starts it again.
func restartPrograms(ctx context.Context, e cluster.Execer, n cluster.Node) error {
	code, err := e.Exec(ctx, n, cluster.ExecSpec{Cmd: []string{"/bin/sh", "-c", endProgram}})
	if err == nil && code != 0 {
		err = errors.New("its program does not run")
	}
	if err != nil {
		return &cluster.Error{Op: "restart programs", Node: n.Name, Err: err}
	}
	return nil
}
