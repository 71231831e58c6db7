//go:build linux

package native

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/klkube/kl/cluster"
)

// List reads the nodes' bundles, and asks runc which of them run.
func (d *Driver) List(ctx context.Context, clusterName string) ([]cluster.Node, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	records, err := d.records()
	if err != nil {
		return nil, err
	}
	var nodes []cluster.Node
	running := map[string]map[string]container{} // by cluster, by node
	for _, r := range records {
		if clusterName != "" && r.Spec.Cluster != clusterName {
			continue
		}
		b := d.bundle(r.Spec.Cluster, r.Spec.Name)
		if _, known := running[r.Spec.Cluster]; !known {
			if running[r.Spec.Cluster], err = r.runc(b.scope()).list(ctx); err != nil {
				return nil, err
			}
		}
		nodes = append(nodes, r.node(b.id(), stateOf(running[r.Spec.Cluster][r.Spec.Name])))
	}
	cluster.SortNodes(nodes)
	return nodes, nil
}

// stateOf is Stopped for a container that there is none of, or whose init has ended or not begun.
func stateOf(c container) cluster.NodeState {
	switch c.Status {
	case "running":
		return cluster.NodeRunning
	case "paused":
		return cluster.NodePaused
	default:
		return cluster.NodeStopped
	}
}

// records reads all bundles. One that goes away meanwhile is left out.
func (d *Driver) records() ([]record, error) {
	files, err := filepath.Glob(filepath.Join(escapeGlob(d.root), "[^.]*", "*", "config.json"))
	if err != nil {
		return nil, err
	}
	var records []record
	for _, f := range files {
		r, err := bundle{filepath.Dir(f)}.read()
		if errors.Is(err, errGone) {
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

// inspect returns what is known about a node and its container, which is empty if there is none.
func (b bundle) inspect(ctx context.Context) (record, container, error) {
	r, err := b.read()
	if err != nil {
		return r, container{}, err
	}
	list, err := r.runc(b.scope()).list(ctx)
	return r, list[b.name()], err
}

// alive tells whether a process runs. A dead one that nobody has reaped does not.
func alive(pid int) bool {
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(stat), ") ") // the name of the program may hold anything
	return rest != "" && rest[0] != 'Z' && rest[0] != 'X'
}
