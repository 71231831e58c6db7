package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/embedded/controlplane"
)

// maxOwnLog is the size at which the process's own log, its standard error, starts anew.
const maxOwnLog = 8 << 20

func runControlPlane(ctx context.Context, args []string, started time.Time) error {
	fs := flag.NewFlagSet("control-plane", flag.ContinueOnError)
	dir := fs.String("dir", "", "directory of the cluster")
	if err := fs.Parse(args); err != nil {
		return err
	}
	layout, err := layoutOf(*dir)
	if err != nil {
		return err
	}
	if info, err := os.Stderr.Stat(); err == nil && info.Mode().IsRegular() && info.Size() > maxOwnLog {
		_ = os.Stderr.Truncate(0)
	}
	logger := slog.New(slog.NewTextHandler(os.Stderr, nil))
	slog.SetDefault(logger) // and with it the standard library's log
	plane := &controlplane.Plane{Layout: layout, Version: version, Started: started, Logger: logger}
	return plane.Run(ctx)
}

// layoutOf is the Layout whose Dir is dir.
func layoutOf(dir string) (cluster.Layout, error) {
	if dir == "" {
		return cluster.Layout{}, fmt.Errorf("flag --dir is missing")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return cluster.Layout{}, err
	}
	home := cluster.Home(filepath.Dir(filepath.Dir(dir)))
	layout := home.Cluster(filepath.Base(dir))
	if layout.Dir() != dir {
		return cluster.Layout{}, fmt.Errorf("%s is not a cluster's directory, such as %s", dir, layout.Dir())
	}
	return layout, nil
}
