package containerd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"

	"github.com/containerd/containerd/v2/cmd/containerd/command"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/embedded/node/boot"
)

// The daemon is idle most of the time: a small heap matters more than the time spent on garbage collection.
const (
	gcPercent   = 60
	memoryLimit = 256 << 20 // bytes; beyond it the collector works harder, nothing fails
)

// WriteConfig writes ConfigFile and the files of MirrorFiles below root, which is "/" except in tests.
func WriteConfig(root string, facts boot.Facts, c cluster.NodeConfig) error {
	files, err := MirrorFiles(c.Mirrors)
	if err != nil {
		return err
	}
	certs := filepath.Join(root, CertsDir)
	if err := os.RemoveAll(certs); err != nil { // removes mirrors that are no longer wanted
		return err
	}
	shared := filepath.Join(root, cluster.LayersMountDir)
	if _, err := os.Stat(shared); err != nil { // the node was made by an older kl
		shared = ""
	}
	all := map[string]string{filepath.Join(root, ConfigFile): Config(facts, shared, c.Cluster+"."+c.Name)}
	for name, data := range files {
		all[filepath.Join(certs, name)] = data
	}
	var errs []error
	for name, data := range all {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return err
		}
		errs = append(errs, os.WriteFile(name, []byte(data), 0o644))
	}
	return errors.Join(errs...)
}

// Run runs the daemon with the arguments of its command line until SIGTERM or SIGINT, which it handles itself: it does not end
// when ctx does. Containers keep running.
func Run(ctx context.Context, args []string) error {
	debug.SetGCPercent(gcPercent)
	debug.SetMemoryLimit(memoryLimit)
	registerOverlay()
	if err := command.App().Run(context.WithoutCancel(ctx), append([]string{"containerd"}, args...)); err != nil {
		return fmt.Errorf("run containerd: %w", err)
	}
	return nil
}
