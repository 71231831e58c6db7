package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/registry"
	"github.com/klkube/kl/cluster/statefile"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/util/wait"
)

// Down removes a cluster: its control plane, nodes, what they shared, its kubeconfig entries and its files. It works on
// what is left of a damaged or half-made cluster, and does nothing if there is none. existed reports which of the two it was.
func (h *Host) Down(ctx context.Context, name string) (existed bool, err error) {
	if err := cluster.CheckName(name); err != nil {
		return false, err
	}
	l := h.Home.Cluster(name)
	steps := newRecorder(h.Events)
	defer leaveNoTrace(l)()
	lock, err := acquire(ctx, l, "kl down", steps)
	if err != nil {
		return false, err
	}
	defer release(l, lock)
	_, statErr := os.Stat(l.Dir())
	existed = statErr == nil
	drivers, err := h.driversOf(ctx, l)
	if err != nil {
		return existed, err
	}
	var found []driverNodes
	for _, d := range drivers {
		defer d.Close()
		nodes, err := d.List(ctx, name)
		if err != nil {
			return existed, fmt.Errorf("list nodes: %w", err)
		}
		found = append(found, driverNodes{d, nodes})
		existed = existed || len(nodes) > 0
	}
	former, err := formerNodes(ctx, l, drivers)
	if err != nil {
		return existed, err
	}
	if err := removeFormer(ctx, l, steps, former); err != nil {
		return existed, err
	}
	return existed, h.remove(ctx, l, steps, found)
}

// Purge removes what is kept for future clusters: the home's registry, and what drivers have, images that no node uses. Drivers that
// cannot be opened on this machine are passed over.
func (h *Host) Purge(ctx context.Context, drivers []cluster.DriverName) error {
	errs := []error{registry.Remove(h.Home)}
	for _, name := range drivers {
		d, err := h.OpenDriver(ctx, name)
		if err != nil {
			continue
		}
		if p, ok := d.(cluster.Purger); ok {
			errs = append(errs, p.Purge(ctx))
		}
		errs = append(errs, d.Close())
	}
	return errors.Join(errs...)
}

// driversOf opens the driver that a cluster was made with or, if cluster.yaml cannot be read, every driver that can be opened.
func (h *Host) driversOf(ctx context.Context, l cluster.Layout) ([]cluster.Driver, error) {
	if spec, err := cluster.ReadSpec(l); err == nil {
		d, err := h.driverFor(ctx, spec)
		return []cluster.Driver{d}, err
	}
	var drivers []cluster.Driver
	for _, name := range []cluster.DriverName{cluster.DriverDocker, cluster.DriverEmbedded} {
		if d, err := h.OpenDriver(ctx, name); err == nil {
			drivers = append(drivers, d)
		}
	}
	return drivers, nil
}

// driverNodes are the nodes of a cluster that one driver knows.
type driverNodes struct {
	driver cluster.Driver
	nodes  []cluster.Node
}

// remove removes a cluster, whose lock is held.
func (h *Host) remove(ctx context.Context, l cluster.Layout, steps *recorder, found []driverNodes) error {
	if err := markAll(l, found); err != nil { // before anything stops: the control plane restarts nodes that go off unmarked
		if err := removePlane(ctx, l, steps); err != nil { // on a full disk, or where the mark is to be something is in the way
			return err
		}
	}
	emptyShared(ctx, l, found)
	layers := newLayersOf(l, "")
	layers.releaseInNodes(ctx, found)
	var g errgroup.Group
	g.Go(func() error { return removePlane(ctx, l, steps) })
	for _, f := range found {
		g.Go(func() error { return deleteNodes(ctx, steps, f.driver, f.nodes, l.Name) })
	}
	if err := g.Wait(); err != nil {
		return err // files stay, so that a second down knows what to do
	}
	released := layers.release()
	if h.StartAtBoot != nil {
		if _, err := h.StartAtBoot(ctx, l, false); err != nil {
			return err
		}
	}
	forget(ctx, l, steps, h.Kubeconfigs)
	if err := removeDir(l); err != nil {
		return err
	}
	if released != nil {
		return &cluster.Error{Op: "remove layers of images", Err: released, Hint: "the cluster is gone; 'kl down' of the last one tries again"}
	}
	return nil
}

func markAll(l cluster.Layout, found []driverNodes) error {
	for _, f := range found {
		for _, n := range f.nodes {
			if err := mark(l.NodeStoppedFile(n.Name)); err != nil {
				return err
			}
		}
	}
	return nil
}

// removePlane ends the control plane. Files that cannot be read are no obstacle: where there is a /proc, that shows the processes.
func removePlane(ctx context.Context, l cluster.Layout, steps *recorder) error {
	isRunning, err := running(l)
	if err == nil && !isRunning {
		return endStrays(ctx, l)
	}
	return steps.do(cluster.StepControlPlane, func() (string, error) {
		if err := endStrays(ctx, l); err != nil {
			return "", err
		}
		// The kernel shows no arguments of a process that is ending, and gives its locks back a moment later. A file that cannot
		// be read then says nothing about processes.
		err := wait.PollUntilContextTimeout(ctx, pollInterval, strayGrace, true, func(context.Context) (bool, error) {
			isRunning, err := running(l)
			return err != nil || !isRunning, nil
		})
		if err != nil {
			err = killControlPlane(ctx, l)
		}
		return "removed", err
	})
}

const strayGrace = time.Second

// removeDir removes the cluster's files. They go at once, under another name: a removal that is interrupted must not leave a
// part of them, such as etcd's data without its keys, for the next up. What it leaves the next up or down removes.
func removeDir(l cluster.Layout) error {
	err := sweep(l)
	if err == nil {
		if err = os.Rename(l.Dir(), l.RemovedDir()); err == nil {
			err = errors.Join(statefile.SyncDir(l.Home.ClustersDir()), os.RemoveAll(l.RemovedDir()))
		} else { // there is nothing to rename, or it is a mount
			err = os.RemoveAll(l.Dir())
		}
	}
	if err == nil && onlyCluster(l) {
		err = registry.RemoveUnused(l.Home)
	}
	if err != nil {
		return &cluster.Error{Op: "remove " + l.Dir(), Err: err, Hint: "remove the directory yourself, as root if a node wrote there"}
	}
	return nil
}

// sweep removes what an interrupted removeDir left.
func sweep(l cluster.Layout) error { return os.RemoveAll(l.RemovedDir()) }

// deleteNodes removes nodes side by side and then what they shared.
func deleteNodes(ctx context.Context, steps *recorder, d cluster.Driver, nodes []cluster.Node, name string) error {
	var g errgroup.Group
	for _, n := range nodes {
		g.Go(func() error {
			return steps.do(n.Name, func() (string, error) {
				if err := d.Delete(ctx, n); err != nil {
					return "", &cluster.Error{Op: "remove node", Node: n.Name, Err: err}
				}
				return "removed", nil
			})
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if c, ok := d.(cluster.Cleaner); ok {
		if err := c.DeleteCluster(ctx, name); err != nil {
			return &cluster.Error{Op: "remove what the nodes of " + name + " shared", Err: err}
		}
	}
	return nil
}

// undo removes what a failed up made: everything if the cluster did not exist before, else only the new nodes and the
// control plane that this run started.
func (u *upRun) undo(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, undoTimeout)
	defer cancel()
	switch {
	case !u.wrote:
		return nil
	case u.opts.Retain:
		return u.settle(ctx)
	}
	quiet := newRecorder(nil) // one step is shown for all of it
	signals := []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL}
	if u.fresh { // nothing to save: its data is removed as well
		signals[0] = killSignal
	}
	return u.steps.do(cluster.StepCleanup, func() (string, error) {
		var g errgroup.Group
		if u.plane != nil {
			g.Go(func() error { return u.plane.stop(ctx, signals...) })
		}
		g.Go(func() error {
			if u.driver == nil {
				return nil
			}
			if !u.fresh {
				return u.undoNodes(ctx, quiet)
			}
			nodes, err := u.driver.List(ctx, u.spec.Name)
			if err != nil {
				return fmt.Errorf("list nodes: %w", err)
			}
			return deleteNodes(ctx, quiet, u.driver, nodes, u.spec.Name)
		})
		if err := g.Wait(); err != nil || !u.fresh {
			return "", err
		}
		forget(ctx, u.layout, u.steps, nil)
		return "", removeDir(u.layout)
	})
}

// undoNodes removes the nodes that this run added to an existing cluster.
func (u *upRun) undoNodes(ctx context.Context, steps *recorder) error {
	var g errgroup.Group
	for _, n := range u.made {
		g.Go(func() error {
			return steps.do(n.Name, func() (string, error) { return "", u.driver.Delete(ctx, n) })
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for _, n := range u.made {
		if err := removeNodeFiles(u.layout, n.Name); err != nil {
			return err
		}
	}
	return cluster.WriteSpec(u.layout, u.before)
}
