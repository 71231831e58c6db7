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

// releaseLayers takes a cluster, or one node of it, off the layers that it shares with other clusters of its home, which are then
// collected when nobody uses them. A home's last cluster takes all layers with it. What cannot be done now is done by the next down.
func releaseLayers(ctx context.Context, l cluster.Layout, node string, found []driverNodes) error {
	dir := l.Home.LayersDir()
	if _, err := os.Stat(dir); err != nil {
		return nil //nolint:nilerr // no node has made it
	}
	pattern := l.Name + "." + node
	if node == "" {
		pattern += "*"
	}
	command := fmt.Sprintf(releaseCommand, pattern)
	last := node == "" && onlyCluster(l)
	if last {
		command = removeCommand
	}
	if _, err := os.Stat(filepath.Join(dir, "sha256")); os.Geteuid() != 0 || err != nil { // or nodes have them elsewhere, in a virtual machine
		execAny(ctx, found, command)
	}
	if os.Geteuid() != 0 {
		return nil
	}
	if last {
		return os.RemoveAll(dir)
	}
	return removeRefs(dir, pattern)
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
