package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/net/http/httpproxy"
	"k8s.io/component-base/metrics/legacyregistry"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/docker"
	"github.com/klkube/kl/cluster/registry"
	"github.com/klkube/kl/embedded/controlplane"
	"github.com/klkube/kl/embedded/controlplane/cloudmetrics"
	"github.com/klkube/kl/embedded/lifecycle"
)

// runControlPlane is the control-plane role.
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
	proxies := httpproxy.FromEnvironment().ProxyFunc()
	if err := dropProxies(); err != nil {
		return err
	}
	logger := slog.New(slog.NewTextHandler(os.Stderr, nil))
	slog.SetDefault(logger) // the standard library's log uses it too
	images := registry.Open(layout.Home)
	defer images.Close()
	images.Logger = logger.With("component", "registry")
	images.Upstream.Proxy = func(r *http.Request) (*url.URL, error) { return proxies(r.URL) }
	requests, err := cloudmetrics.New(legacyregistry.Register)
	if err != nil {
		return err
	}
	plane := &controlplane.Plane{
		Layout: layout, Version: version, Started: started, Logger: logger,
		Extra: func(parts controlplane.Parts) []lifecycle.Unit {
			images.Upstream.Registries = parts.Spec.Upstream()
			e := extras{layout: layout, parts: parts, requests: requests, registry: images, logger: logger}
			return e.units(ctx)
		},
	}
	return plane.Run(ctx)
}

// dropProxies takes the proxies of the shell that ran kl out of this process's environment: they are for images. What the control plane calls
// (kubelets, webhooks, aggregated APIs, its own API server) is in the cluster, where no proxy of the machine leads.
func dropProxies() error {
	for _, entry := range os.Environ() {
		name, _, _ := strings.Cut(entry, "=")
		if !strings.HasSuffix(strings.ToLower(name), "_proxy") {
			continue
		}
		if err := os.Unsetenv(name); err != nil {
			return fmt.Errorf("unset %s: %w", name, err)
		}
	}
	return nil
}

// openDocker connects to Docker, as kl does with that home.
func openDocker(ctx context.Context, home cluster.Home, log *slog.Logger) (cluster.Driver, error) {
	d, err := docker.New(ctx, docker.Options{Home: home, Logger: log})
	if err != nil {
		return nil, err // not d: a nil pointer in an interface is not nil
	}
	return d, nil
}

// layoutOf returns the Layout whose Dir is dir.
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
