package main

import (
	"context"
	"errors"
	"log/slog"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/component-base/metrics/legacyregistry"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/docker"
	"github.com/klkube/kl/cluster/registry"
	"github.com/klkube/kl/embedded/controlplane"
	"github.com/klkube/kl/embedded/controlplane/cloud"
	"github.com/klkube/kl/embedded/controlplane/cloud/balance"
	"github.com/klkube/kl/embedded/controlplane/cloudmetrics"
	"github.com/klkube/kl/embedded/controlplane/forward"
	"github.com/klkube/kl/embedded/controlplane/images"
	"github.com/klkube/kl/embedded/controlplane/keeper"
	"github.com/klkube/kl/embedded/controlplane/metrics"
	"github.com/klkube/kl/embedded/controlplane/nodewatch"
	served "github.com/klkube/kl/embedded/controlplane/registry"
	"github.com/klkube/kl/embedded/controlplane/sim"
	"github.com/klkube/kl/embedded/controlplane/storage"
	"github.com/klkube/kl/embedded/lifecycle"
)

// extras makes the components of a control plane that package controlplane does not know.
type extras struct {
	layout   cluster.Layout
	parts    controlplane.Parts
	requests *cloudmetrics.Requests
	registry *registry.Store
	logger   *slog.Logger
}

// units returns the components that the cluster's spec asks for. ctx is that of the process.
func (e extras) units(ctx context.Context) []lifecycle.Unit {
	units := []lifecycle.Unit{e.simulator(), e.ports(), e.served()}
	if e.parts.Spec.Enabled(cluster.FeatureMetrics) {
		units = append(units, e.metrics())
	}
	if e.parts.Spec.Driver == cluster.DriverDocker {
		units = append(units, e.keeper())
	}
	return append(units, e.images(), e.storage(ctx), e.cloud())
}

// unit is a component that is made again after every failure: what a user put into the API may be why it fails, and can be
// mended only while the API serves.
func unit(make func() lifecycle.Component, needs ...cluster.ComponentName) lifecycle.Unit {
	return lifecycle.Unit{Component: make(), Again: make, Needs: needs, Forever: true}
}

func (e extras) log(component cluster.ComponentName) *slog.Logger {
	return e.logger.With("component", component)
}

func (e extras) simulator() lifecycle.Unit {
	return unit(func() lifecycle.Component {
		return &sim.Simulator{Config: e.parts.Admin, Kubeconfig: e.parts.Kubeconfig, Nodes: e.parts.Nodes, Logger: e.log("simulator")}
	}, cluster.KubeAPIServer, nodewatch.Name)
}

func (e extras) ports() lifecycle.Unit {
	return unit(func() lifecycle.Component {
		dialer := &forward.NodeDialer{DialNode: e.parts.Hub.DialNode, Address: nodeAddress(e.parts.Admin)}
		return &forward.Forwarder{Layout: e.layout, Dial: dialer.Dial, Logger: e.log("ports")}
	}, cluster.KubeAPIServer)
}

// served serves the registry of the home or, if that is disabled, withdraws the announcement of an earlier run.
func (e extras) served() lifecycle.Unit {
	port := 0
	if e.parts.Spec.Enabled(cluster.FeatureRegistry) {
		port = e.parts.Spec.Registries.ListenPort()
	}
	return unit(func() lifecycle.Component {
		return &served.Server{Store: e.registry, Port: port, Admin: e.parts.Admin, Logger: e.log("registry")}
	}, cluster.KubeAPIServer)
}

func (e extras) metrics() lifecycle.Unit {
	return unit(func() lifecycle.Component {
		return &metrics.Server{
			Layout: e.layout, Gateway: e.parts.Spec.Networking.Gateway, Admin: e.parts.Admin, Hub: e.parts.Hub,
			Nodes: e.parts.Nodes, Logger: e.log("metrics-server"),
		}
	}, cluster.KubeAPIServer, nodewatch.Name)
}

// keeper restarts containers that were killed, which Docker does not do.
func (e extras) keeper() lifecycle.Unit {
	return unit(func() lifecycle.Component {
		log := e.log("keeper")
		return &keeper.Keeper{
			Layout: e.layout, Connected: e.parts.Hub.Watch, Logger: log,
			Open: func(ctx context.Context) (cluster.Driver, error) { return openDocker(ctx, e.layout.Home, log) },
		}
	})
}

// images finds images for nodes.
func (e extras) images() lifecycle.Unit {
	log := e.log("images")
	finder := &images.Finder{
		OpenEngine: func(ctx context.Context) (images.Engine, error) {
			d, err := docker.New(ctx, docker.Options{Home: e.layout.Home, Logger: log})
			if err != nil {
				return nil, err // not d: a nil pointer in an interface is not nil
			}
			return d, nil
		},
		Registry: e.registry, Logger: log,
	}
	e.parts.Hub.Handle(finder.Handler())
	return unit(func() lifecycle.Component { return finder })
}

func (e extras) cloud() lifecycle.Unit {
	balances := &balance.Handler{} // outlives the controllers: routes are registered once
	balances.Register(e.parts.Socket)
	return unit(func() lifecycle.Component {
		return &cloud.Controller{
			Layout: e.layout, Spec: e.parts.Spec, Admin: e.parts.Admin, Hub: e.parts.Hub, Nodes: e.parts.Nodes, Requests: e.requests,
			Balances: balances, Logger: e.log("cloud-controller-manager"),
		}
	}, controlplane.Roles, nodewatch.Name)
}

// storage creates volumes or, if storage is disabled, withdraws the classes of an earlier run. The controller has no Again:
// upstream's provisioner may be made once a process, see storage.New.
func (e extras) storage(ctx context.Context) lifecycle.Unit {
	log := e.log("storage")
	if !e.parts.Spec.Enabled(cluster.FeatureStorage) {
		return unit(func() lifecycle.Component { return &storage.Withdrawal{Admin: e.parts.Admin, Logger: log} }, cluster.KubeAPIServer)
	}
	c := storage.New(ctx, storage.Options{
		Layout: e.layout, Admin: e.parts.Admin, Nodes: e.parts.Hub, Requests: e.requests, Collect: legacyregistry.RawMustRegister, Logger: log,
	})
	return lifecycle.Unit{Component: c, Needs: []cluster.ComponentName{cluster.KubeAPIServer}}
}

// nodeAddress returns a function that reads a node's address from the API.
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
		return "", errors.New("the kubelet has not published one yet")
	}
}
