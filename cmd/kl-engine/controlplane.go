package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/component-base/metrics/legacyregistry"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/docker"
	"github.com/klkube/kl/embedded/controlplane"
	"github.com/klkube/kl/embedded/controlplane/cloud"
	"github.com/klkube/kl/embedded/controlplane/cloudmetrics"
	"github.com/klkube/kl/embedded/controlplane/forward"
	"github.com/klkube/kl/embedded/controlplane/keeper"
	"github.com/klkube/kl/embedded/controlplane/metrics"
	"github.com/klkube/kl/embedded/controlplane/sim"
	"github.com/klkube/kl/embedded/lifecycle"
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
	requests, err := cloudmetrics.New(legacyregistry.Register)
	if err != nil {
		return err
	}
	plane := &controlplane.Plane{
		Layout: layout, Version: version, Started: started, Logger: logger,
		Extra: func(parts controlplane.Parts) []lifecycle.Unit {
			units := extraUnits(layout, parts, logger)
			return append(units, storageUnit(ctx, layout, parts, requests, logger.With("component", "storage")),
				cloudUnit(layout, parts, requests, logger.With("component", "cloud-controller-manager")))
		},
	}
	return plane.Run(ctx)
}

// extraUnits are the components beside the control plane proper: simulated nodes, ports and metrics of real ones, and their keeper.
func extraUnits(layout cluster.Layout, parts controlplane.Parts, logger *slog.Logger) []lifecycle.Unit {
	simulator := func() lifecycle.Component {
		return &sim.Simulator{Config: parts.Admin, Kubeconfig: parts.Kubeconfig, Logger: logger.With("component", "simulator")}
	}
	units := []lifecycle.Unit{{Component: simulator(), Again: simulator, Needs: []cluster.ComponentName{cluster.KubeAPIServer}}}
	dialer := &forward.NodeDialer{DialNode: parts.Hub.DialNode, Address: nodeAddress(parts.Admin)}
	ports := func() lifecycle.Component {
		return &forward.Forwarder{Spec: layout.SpecFile(), Dial: dialer.Dial, Logger: logger.With("component", "ports")}
	}
	units = append(units, lifecycle.Unit{Component: ports(), Again: ports, Needs: []cluster.ComponentName{cluster.KubeAPIServer}})
	if parts.Spec.Enabled(cluster.FeatureMetrics) {
		measure := func() lifecycle.Component {
			return &metrics.Server{Layout: layout, Gateway: parts.Spec.Networking.Gateway, Admin: parts.Admin, Hub: parts.Hub,
				Logger: logger.With("component", "metrics-server")}
		}
		units = append(units, lifecycle.Unit{Component: measure(), Again: measure, Needs: []cluster.ComponentName{cluster.KubeAPIServer}})
	}
	if parts.Spec.Driver == cluster.DriverDocker {
		keep := func() lifecycle.Component {
			log := logger.With("component", "keeper")
			return &keeper.Keeper{Layout: layout, Connected: parts.Hub.Watch, Logger: log,
				Open: func(ctx context.Context) (cluster.Driver, error) { return openDocker(ctx, log) }}
		}
		units = append(units, lifecycle.Unit{Component: keep(), Again: keep})
	}
	return units
}

func cloudUnit(layout cluster.Layout, parts controlplane.Parts, requests *cloudmetrics.Requests, logger *slog.Logger) lifecycle.Unit {
	board := &cloud.Board{}
	board.Register(parts.Socket)
	manage := func() lifecycle.Component {
		return &cloud.Controller{
			Layout: layout, Spec: parts.Spec, Admin: parts.Admin, Hub: parts.Hub, Requests: requests, Board: board, Logger: logger,
		}
	}
	return lifecycle.Unit{Component: manage(), Again: manage, Needs: []cluster.ComponentName{controlplane.Roles}}
}

// nodeAddress asks the API for a node's address.
func nodeAddress(admin *rest.Config) func(ctx context.Context, node string) (string, error) {
	return func(ctx context.Context, node string) (string, error) {
		client, err := kubernetes.NewForConfig(admin)
		if err != nil {
			return "", err
		}
		n, err := client.CoreV1().Nodes().Get(ctx, node, metav1.GetOptions{})
		if err != nil {
			return "", err
		}
		for _, a := range n.Status.Addresses {
			if a.Type == corev1.NodeInternalIP {
				return a.Address, nil
			}
		}
		return "", errors.New("it has none yet")
	}
}

func openDocker(ctx context.Context, log *slog.Logger) (cluster.Driver, error) {
	d, err := docker.New(ctx, docker.Options{Logger: log})
	if err != nil {
		return nil, err // not d: a nil pointer in an interface is not nil
	}
	return d, nil
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
