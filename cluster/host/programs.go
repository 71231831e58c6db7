package host

import (
	"context"
	"errors"

	"github.com/klkube/kl/cluster"

	"golang.org/x/sync/errgroup"
)

// restartPrograms restarts kubelet, kube-proxy and agent of every running node, so that they read their configuration.
// Containers keep running: their shims do not belong to these programs.
func (c *change) restartPrograms(ctx context.Context) error {
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
}

// endProgram is a script that ends `kl-engine node`. It looks for a child of kl-init, since a pod may run a process of the
// same name; the node's busybox has no pkill.
const endProgram = `for d in /proc/[0-9]*; do
	if [ "$(tr '\0' ' ' <$d/cmdline)" = "/usr/local/bin/kl-engine node " ] && grep -q '^PPid:.1$' $d/status; then
		kill ${d#/proc/}
		exit
	fi
done 2>/dev/null
exit 1`

// restartPrograms ends a node's program; kl-init starts it again.
func restartPrograms(ctx context.Context, e cluster.Execer, n cluster.Node) error {
	code, err := e.Exec(ctx, n, cluster.ExecSpec{Cmd: []string{"/bin/sh", "-c", endProgram}})
	if err == nil && code != 0 {
		err = errors.New("its program is not running")
	}
	if err != nil {
		return &cluster.Error{Op: "restart programs", Node: n.Name, Err: err}
	}
	return nil
}
