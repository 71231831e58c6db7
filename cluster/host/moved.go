package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/klkube/kl/cluster"
)

// Drivers know a cluster's nodes by its home. If somebody moves the directory, the nodes go on belonging to the old path: the
// directory's new home neither sees them, nor could it start them, as they have the old path mounted. Such a cluster can be moved
// back, or removed.

// checkMoved refuses to work on a cluster that was moved. One without real nodes can go on where it is, once it is off.
func checkMoved(l cluster.Layout) error {
	from := cluster.MovedFrom(l)
	if from == "" {
		return nil
	}
	if spec, err := cluster.ReadSpec(l); err == nil && spec.Driver == cluster.DriverSimulated {
		if on, err := running(l); err == nil && !on {
			return nil
		}
	}
	return &cluster.Error{Op: "use cluster " + l.Name, Err: errors.New(movedReason(l, from)), Hint: movedHint(l, from)}
}

func movedReason(l cluster.Layout, from cluster.Home) string {
	return fmt.Sprintf("its directory was moved here, to %s, and its control plane and nodes belong to %s", l.Home, from)
}

func movedHint(l cluster.Layout, from cluster.Home) string {
	if from.Gone() {
		return fmt.Sprintf("move the directory back, or remove the cluster, with what belongs to the old place: 'kl down --name %s'", l.Name)
	}
	return fmt.Sprintf("there is another directory in the old place by now: 'KL_HOME=%s kl down --name %s' removes what belongs to it, 'kl down --name %s' the files here",
		from, l.Name, l.Name)
}

// formerNodes lists the nodes that a cluster has had since before its directory was moved. There are none to touch if the old place
// has a home again: they are that one's.
func formerNodes(ctx context.Context, l cluster.Layout, drivers []cluster.Driver) ([]driverNodes, error) {
	from := cluster.MovedFrom(l)
	if from == "" || !from.Gone() {
		return nil, nil
	}
	var found []driverNodes
	for _, d := range drivers {
		r, ok := d.(cluster.Rehomer)
		if !ok {
			continue
		}
		former, err := r.For(from)
		if err != nil {
			return nil, err
		}
		nodes, err := former.List(ctx, l.Name)
		if err != nil {
			return nil, fmt.Errorf("list nodes of %s: %w", from, err)
		}
		found = append(found, driverNodes{former, nodes})
	}
	return found, nil
}

// removeFormer removes formerNodes, and before them the control plane, which would start them again.
func removeFormer(ctx context.Context, l cluster.Layout, steps *recorder, former []driverNodes) error {
	if len(former) == 0 {
		return nil
	}
	if err := removePlane(ctx, l, steps); err != nil {
		return err
	}
	emptyShared(ctx, l, former)
	for _, f := range former {
		if err := deleteNodes(ctx, steps, f.driver, f.nodes, l.Name); err != nil {
			return err
		}
	}
	return nil
}

// leaveNoTrace returns a function that removes the directories of a home that did not exist, as long as they are empty: to lock what
// is left of a home that is gone makes them.
func leaveNoTrace(l cluster.Layout) func() {
	made := []string{filepath.Dir(l.LockFile()), l.Home.ClustersDir()}
	for dir := string(l.Home); cluster.Home(dir).Gone(); dir = filepath.Dir(dir) {
		made = append(made, dir)
	}
	if len(made) == 2 { // the home exists
		made = nil
	}
	return func() {
		for _, dir := range made {
			_ = os.Remove(dir) // fails, and is meant to, unless the directory is empty
		}
	}
}
