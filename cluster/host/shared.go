package host

import (
	"context"
	"os"

	"github.com/klkube/kl/cluster"
)

// emptyCommand removes all volumes of the shared tree. It repeats for files that a pod
// writes meanwhile.
const emptyCommand = `cd ` + cluster.SharedMountDir + ` || exit 1
for i in 1 2 3; do
	rm -rf ./* ./.[!.]* && exit
done
exit 1`

// emptyShared has a node remove what pods left in shared volumes: the files may belong to any user, and kl may not run as
// root. If no node can do it, removing the directory fails later, with the reason.
func emptyShared(ctx context.Context, l cluster.Layout, found []driverNodes) {
	if entries, err := os.ReadDir(l.SharedDir()); err != nil || len(entries) == 0 {
		return
	}
	execAny(ctx, found, emptyCommand)
}

// execAny runs a shell command in the first node that can, if there is one.
func execAny(ctx context.Context, found []driverNodes, command string) {
	for _, f := range found {
		e, ok := f.driver.(cluster.Execer)
		for _, n := range f.nodes {
			if !ok || !turnedOn(ctx, f.driver, n) {
				continue
			}
			if code, err := e.Exec(ctx, n, cluster.ExecSpec{Cmd: []string{"/bin/sh", "-c", command}}); err == nil && code == 0 {
				return
			}
		}
	}
}

// turnedOn reports whether a node runs. Without root privileges it turns the node on.
func turnedOn(ctx context.Context, d cluster.Driver, n cluster.Node) bool {
	if n.State == cluster.NodeRunning {
		return true
	}
	if os.Geteuid() == 0 { // root can remove the files without a node
		return false
	}
	if p, ok := d.(cluster.Pauser); ok && n.State == cluster.NodePaused {
		return p.Resume(ctx, n) == nil
	}
	s, ok := d.(cluster.Starter)
	return ok && n.State == cluster.NodeStopped && s.Start(ctx, n) == nil
}
