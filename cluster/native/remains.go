//go:build linux

package native

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/statefile"
)

// For returns the driver of another home of this machine.
func (d *Driver) For(h cluster.Home) (cluster.Driver, error) {
	other := *d
	other.root = filepath.Join(string(h.Real()), "embedded")
	return &other, nil
}

// remains lists the nodes of a cluster, by name, that the kernel or runc has something of although their directories are gone:
// somebody removed or moved them. Such a node can only be deleted.
func (d *Driver) remains(clusterName string) ([]bundle, error) {
	all, err := remainsOf(filepath.Join(runDir, d.scope(clusterName).id))
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(d.root, clusterName)
	return slices.DeleteFunc(all, func(b bundle) bool { return b.clusterDir() != dir }), nil
}

// Orphans lists the nodes of every home of this machine whose directory is gone.
func (d *Driver) Orphans(context.Context) ([]cluster.Orphan, error) {
	all, err := remainsOf(filepath.Join(runDir, "*"))
	if err != nil {
		return nil, err
	}
	orphans := make([]cluster.Orphan, len(all))
	for i, b := range all {
		orphans[i] = cluster.Orphan{Home: b.home(), Cluster: b.clusterName(), Node: b.name()}
	}
	return orphans, nil
}

// remainsOf finds nodes without a directory by their containers, whose states are in directories that match pattern, and by their
// supervisors.
func remainsOf(pattern string) ([]bundle, error) {
	states, err := filepath.Glob(filepath.Join(pattern, "*", "state.json"))
	if err != nil {
		return nil, err
	}
	var found []bundle
	for _, file := range states {
		var state struct {
			Config struct {
				Rootfs string `json:"rootfs"`
			} `json:"config"`
		}
		if err := statefile.ReadJSON(file, &state); err == nil && filepath.IsAbs(state.Config.Rootfs) {
			found = append(found, bundle{filepath.Dir(state.Config.Rootfs)})
		}
	}
	running, err := supervisors()
	if err != nil {
		return nil, err
	}
	for _, b := range running {
		if filepath.IsAbs(b.dir) {
			found = append(found, b)
		}
	}
	found = slices.DeleteFunc(found, func(b bundle) bool {
		_, err := os.Lstat(b.dir)
		return !errors.Is(err, fs.ErrNotExist) || filepath.Base(filepath.Dir(b.clusterDir())) != "embedded"
	})
	slices.SortFunc(found, func(a, b bundle) int { return strings.Compare(a.dir, b.dir) })
	return slices.Compact(found), nil
}
