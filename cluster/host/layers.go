package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/klkube/kl/cluster"
)

// Commands for the directory of shared layers, which nodes write as root: the first takes nodes off the layers they use, by the
// pattern of their names there, the second removes all layers.
const (
	releaseCommand = `cd ` + cluster.LayersMountDir + ` && rm -f sha256/*/refs/%s`
	removeCommand  = `cd ` + cluster.LayersMountDir + ` && rm -rf ./*`
)

// layersOf are the layers that a cluster, or one node of it, shares with other clusters of its home. A home's last cluster takes all
// layers with it; others are collected when nobody uses them.
type layersOf struct {
	dir     string // empty if no node has made it
	pattern string // of the names of nodes
	last    bool
}

func newLayersOf(l cluster.Layout, node string) layersOf {
	dir := l.Home.LayersDir()
	if _, err := os.Stat(dir); err != nil {
		dir = ""
	}
	pattern := l.Name + "." + node
	if node == "" {
		pattern += "*"
	}
	return layersOf{dir: dir, pattern: pattern, last: node == "" && onlyCluster(l)}
}

// releaseInNodes takes nodes off their layers where this process cannot: it is not root, or nodes have the layers elsewhere, in a virtual
// machine. What cannot be done now is done by the next down.
func (o layersOf) releaseInNodes(ctx context.Context, found []driverNodes) {
	if o.dir == "" {
		return
	}
	command := fmt.Sprintf(releaseCommand, o.pattern)
	if o.last {
		command = removeCommand
	}
	if _, err := os.Stat(filepath.Join(o.dir, "sha256")); os.Geteuid() != 0 || err != nil {
		execAny(ctx, found, command)
	}
}

// release takes nodes that are gone off their layers: while they run they may write there.
func (o layersOf) release() error {
	if o.dir == "" || os.Geteuid() != 0 {
		return nil
	}
	if o.last {
		return os.RemoveAll(o.dir)
	}
	return removeRefs(o.dir, o.pattern)
}

// removeRefs is releaseCommand for root.
func removeRefs(dir, pattern string) error {
	layers, err := os.ReadDir(filepath.Join(dir, "sha256"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	errs := []error{err}
	for _, layer := range layers {
		refs := filepath.Join(dir, "sha256", layer.Name(), "refs")
		nodes, _ := os.ReadDir(refs) // it may have been collected meanwhile
		for _, n := range nodes {
			if match, _ := filepath.Match(pattern, n.Name()); !match {
				continue
			}
			if err := os.Remove(filepath.Join(refs, n.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}

// onlyCluster reports whether a home has no cluster but one.
func onlyCluster(l cluster.Layout) bool {
	names, err := l.Home.Names()
	return err == nil && !slices.ContainsFunc(names, func(name string) bool { return name != l.Name })
}
