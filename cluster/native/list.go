//go:build linux

package native

import (
	"context"
	"errors"
	"path/filepath"
	"strings"

	"github.com/klkube/kl/cluster"
)

// List reads the bundles of the nodes and, for the ones that run, runc's state.
func (d *Driver) List(ctx context.Context, clusterName string) ([]cluster.Node, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	records, err := d.records()
	if err != nil {
		return nil, err
	}
	var nodes []cluster.Node
	for _, r := range records {
		if clusterName != "" && r.Spec.Cluster != clusterName {
			continue
		}
		b := d.bundle(r.Spec.Cluster, r.Spec.Name)
		c, err := r.runc(b.scope()).container(b.name())
		if err != nil {
			return nil, err
		}
		nodes = append(nodes, r.node(b.id(), stateOf(c)))
	}
	cluster.SortNodes(nodes)
	return nodes, nil
}

// records reads all bundles. A node that is deleted in the meantime is left out.
func (d *Driver) records() ([]record, error) {
	files, err := filepath.Glob(filepath.Join(escapeGlob(d.root), "[^.]*", "*", "config.json"))
	if err != nil {
		return nil, err
	}
	var records []record
	for _, f := range files {
		r, err := bundle{filepath.Dir(f)}.read()
		if errors.Is(err, errNoNode) {
			continue
		}
		if err != nil {
			return nil, err
		}
		records = append(records, r)
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
