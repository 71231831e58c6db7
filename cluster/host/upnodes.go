package host

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/statefile"

	"golang.org/x/sync/errgroup"
)

// checkNodes refuses a new cluster whose name has nodes on the backend: cleaning up would remove them as well.
func (u *upRun) checkNodes(have []cluster.Node) error {
	if !u.fresh || len(have) == 0 {
		return nil
	}
	return &cluster.Error{
		Op:   "make cluster " + u.spec.Name,
		Err:  fmt.Errorf("driver %s has nodes of an earlier cluster of that name, whose files are gone from %s", u.spec.Driver, u.host.Home),
		Hint: fmt.Sprintf("remove them with 'kl down --name %s', or choose another --name", u.spec.Name),
	}
}

// startNodes makes the nodes that are missing and starts those that are off, all side by side.
func (u *upRun) startNodes(ctx context.Context, have []cluster.Node) error {
	specs, err := nodeSpecs(u.spec, u.layout, u.payload)
	if err != nil {
		return &cluster.Error{Op: "read nodes of cluster " + u.spec.Name, Err: err}
	}
	existing := map[string]cluster.Node{}
	for _, n := range have {
		existing[n.Name] = n
	}
	if err := statefile.MkdirAll(u.layout.SharedDir(), 0o711); err != nil {
		return &cluster.Error{Op: "make directory of shared volumes", Err: err}
	}
	if err := statefile.MkdirAll(u.layout.Home.LayersDir(), 0o700); err != nil {
		return &cluster.Error{Op: "make directory of layers", Err: err}
	}
	certs, err := trustedCertificates()
	if err != nil {
		return &cluster.Error{Op: "write configuration", Err: err}
	}
	missing := 0 // nodes of the image
	for _, spec := range specs {
		var have *cluster.Node
		if n, ok := existing[spec.Name]; ok {
			have = &n
		}
		if have == nil || u.outdated(*have) {
			missing++
		}
		id, err := identify(u.layout, spec.Name, have)
		if err != nil {
			return err
		}
		if err := writeNodeFiles(u.layout, u.spec, spec, id.Token, certs); err != nil {
			return &cluster.Error{Op: "write configuration", Node: spec.Name, Err: err}
		}
	}
	if p, ok := u.driver.(cluster.Preparer); ok && missing > 0 {
		err := u.steps.within(ctx, cluster.StepImage, func() (string, error) { return "", p.Prepare(ctx, u.spec.Name, u.payload) })
		if err != nil {
			return &cluster.Error{Op: "prepare node image", Err: err}
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, spec := range specs {
		g.Go(func() error {
			if n, ok := existing[spec.Name]; ok {
				return u.startNode(ctx, n)
			}
			return u.makeNode(ctx, spec)
		})
	}
	return g.Wait()
}

func (u *upRun) makeNode(ctx context.Context, spec cluster.NodeSpec) error {
	u.steps.start(spec.Name)
	n, err := u.driver.Create(ctx, spec)
	if errors.Is(err, cluster.ErrNodeExists) { // since it was not listed: an engine goes on with what a command that was killed asked for
		if nodes, listErr := u.driver.List(ctx, u.spec.Name); listErr == nil {
			if i := slices.IndexFunc(nodes, func(n cluster.Node) bool { return n.Name == spec.Name }); i >= 0 {
				if _, err := identify(u.layout, spec.Name, &nodes[i]); err != nil { // its address
					return err
				}
				return u.startNode(ctx, nodes[i])
			}
		}
	}
	if err != nil {
		return &cluster.Error{Op: "make node", Node: spec.Name, Err: err}
	}
	u.mu.Lock()
	u.made, u.changed = append(u.made, n), true
	u.mu.Unlock()
	if _, err := identify(u.layout, n.Name, &n); err != nil { // its address
		return err
	}
	u.steps.say(spec.Name, cluster.StepRunning, "started")
	return nil
}

// startNode turns an existing node on.
func (u *upRun) startNode(ctx context.Context, n cluster.Node) error {
	n, err := finishNodeStop(ctx, u.layout, u.driver, n)
	if err != nil {
		return err
	}
	if err := unmark(u.layout.NodeStoppedFile(n.Name)); err != nil {
		return err
	}
	if u.outdated(n) {
		if n, err = u.upgradeNode(ctx, n); err != nil {
			return err
		}
	}
	if n.State == cluster.NodeRunning {
		return nil
	}
	u.steps.start(n.Name)
	u.mu.Lock()
	u.changed = true
	u.mu.Unlock()
	if n.State == cluster.NodeDamaged {
		return &cluster.Error{
			Op: "start node", Node: n.Name, Err: errors.New(n.Problem),
			Hint: fmt.Sprintf("restore the file, or make the node again: 'kl node remove %s --name %s' and 'kl node add'", n.Name, n.Cluster),
		}
	}
	err = fmt.Errorf("it is %s, and driver %s cannot change that", n.State, u.driver.Name())
	if d, ok := u.driver.(cluster.Starter); ok && n.State == cluster.NodeStopped {
		err = d.Start(ctx, n)
	}
	if d, ok := u.driver.(cluster.Pauser); ok && n.State == cluster.NodePaused {
		err = d.Resume(ctx, n)
	}
	if err != nil {
		return &cluster.Error{Op: "start node", Node: n.Name, Err: err}
	}
	return nil
}
