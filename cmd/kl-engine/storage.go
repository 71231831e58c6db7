package main

import (
	"context"
	"log/slog"

	"k8s.io/component-base/metrics/legacyregistry"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/embedded/controlplane"
	"github.com/klkube/kl/embedded/controlplane/cloudmetrics"
	"github.com/klkube/kl/embedded/controlplane/storage"
	"github.com/klkube/kl/embedded/lifecycle"
)

// storageUnit makes volumes, or withdraws the classes of a cluster that is not to have any.
func storageUnit(ctx context.Context, layout cluster.Layout, parts controlplane.Parts, requests *cloudmetrics.Requests,
	logger *slog.Logger) lifecycle.Unit {
	if !parts.Spec.Enabled(cluster.FeatureStorage) {
		withdraw := func() lifecycle.Component { return &storage.Withdrawal{Admin: parts.Admin, Logger: logger} }
		return lifecycle.Unit{Component: withdraw(), Again: withdraw, Needs: []cluster.ComponentName{cluster.KubeAPIServer}}
	}
	c := storage.New(ctx, storage.Options{
		Layout: layout, Admin: parts.Admin, Nodes: parts.Hub, Requests: requests, Collect: legacyregistry.RawMustRegister, Logger: logger,
	})
	return lifecycle.Unit{Component: c, Needs: []cluster.ComponentName{cluster.KubeAPIServer}}
}
