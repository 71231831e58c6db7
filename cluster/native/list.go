//go:build linux

package native

import (
	"context"
	"errors"
	"path/filepath"
	"strings"

	"github.com/klkube/kl/cluster"
)

// List reads the bundles of the nodes and, for the ones that run, runc's state. A node whose files cannot be read is damaged,
// and no obstacle to listing the others; so is one whose directory is gone, which is found if the cluster is named.
func (d *Driver) List(ctx context.Context, clusterName string) ([]cluster.Node, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	bundles, err := d.bundles()
	if err != nil {
		return nil, err
	}
	var nodes []cluster.Node
	for _, b := range bundles {
		if clusterName != "" && b.clusterName() != clusterName {
			continue
		}
		r, c, err := b.inspect()
		switch {
		case errors.Is(err, errNoNode): // deleted in the meantime
		case err != nil:
			nodes = append(nodes, cluster.Node{
				Cluster: b.clusterName(), Name: b.name(), Driver: d.Name(), ID: b.id(), State: cluster.NodeDamaged, Problem: err.Error(),
			})
		default:
			n := r.node(b.id(), stateOf(c))
			if n.State != cluster.NodeStopped && b.orphaned() {
				n.Problem = "its supervisor was killed: published ports are closed until it has another one"
			}
			nodes = append(nodes, n)
		}
	}
	if clusterName != "" {
		left, err := d.remains(clusterName)
		if err != nil {
			return nil, err
		}
		for _, b := range left {
			nodes = append(nodes, cluster.Node{
				Cluster: clusterName, Name: b.name(), Driver: d.Name(), ID: b.id(), State: cluster.NodeDamaged, Problem: "its directory " + b.dir + " is gone",
			})
		}
	}
	cluster.SortNodes(nodes)
	return nodes, nil
}

// bundles returns the directory of each node, and whatever else is in a cluster's directory: that is a damaged node.
func (d *Driver) bundles() ([]bundle, error) {
	paths, err := filepath.Glob(filepath.Join(escapeGlob(d.root), "[^.]*", "*"))
	if err != nil {
		return nil, err
	}
	bundles := make([]bundle, len(paths))
	for i, path := range paths {
		bundles[i] = bundle{path}
	}
	return bundles, nil
}

// records reads all bundles. Nodes that are damaged, or deleted in the meantime, are left out.
func (d *Driver) records() ([]record, error) {
	bundles, err := d.bundles()
	if err != nil {
		return nil, err
	}
	var records []record
	for _, b := range bundles {
		if r, err := b.read(); err == nil {
			records = append(records, r)
		}
	}
	return records, nil
}

func escapeGlob(path string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(path)
}

// inspect returns the record of a node and the state of its container.
func (b bundle) inspect() (record, container, error) {
	r, err := b.read()
	if err != nil {
		return r, container{}, err
	}
	c, err := r.runc(b.scope()).container(b.name())
	return r, c, err
}
