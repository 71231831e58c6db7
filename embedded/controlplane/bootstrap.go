package controlplane

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/embedded/lifecycle"
	"github.com/klkube/kl/embedded/manifests"
)

// bootstrap applies the first objects at every start, then waits to be stopped.
type bootstrap struct {
	world  *world
	logger *slog.Logger
}

var _ lifecycle.Component = (*bootstrap)(nil)

func (b *bootstrap) Name() string { return nameBootstrap }

// Run lets the nodes in as soon as their rights exist, and is ready when all objects do.
func (b *bootstrap) Run(ctx context.Context, ready func()) error {
	token, err := os.ReadFile(b.world.plane.Layout.BootstrapToken())
	if err != nil {
		return lifecycle.Permanent(fmt.Errorf("read bootstrap token: %w", err))
	}
	id, secret, ok := strings.Cut(strings.TrimSpace(string(token)), ".")
	if !ok {
		return lifecycle.Permanent(fmt.Errorf("read bootstrap token %s: not of the form id.secret", b.world.plane.Layout.BootstrapToken()))
	}
	nodes, err := manifests.Nodes(id, secret)
	if err != nil {
		return lifecycle.Permanent(err)
	}
	dns, err := manifests.DNS(b.world.spec.Networking.DNS, cluster.ClusterDomain)
	if err != nil {
		return lifecycle.Permanent(err)
	}
	config := rest.CopyConfig(b.world.admin)
	config.ContentType, config.AcceptContentTypes = "", "" // JSON
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("make client: %w", err)
	}
	if err := b.apply(ctx, client, nodes, manifests.Force); err != nil {
		return err
	}
	b.world.joined.open()
	if err := b.apply(ctx, client, dns, manifests.Yield); err != nil {
		return err
	}
	ready()
	<-ctx.Done()
	return ctx.Err()
}

// apply tries for a while: the namespace kube-system appears shortly after the API does.
func (b *bootstrap) apply(ctx context.Context, client dynamic.Interface, objects []*unstructured.Unstructured, mode manifests.Mode) error {
	trying, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	return poll(trying, 50*time.Millisecond, func(ctx context.Context) error {
		err := manifests.Apply(ctx, client, objects, mode)
		if errors.Is(err, manifests.ErrConflict) && onlyConflicts(err) {
			b.logger.InfoContext(ctx, "objects are left as somebody changed them", "conflicts", err)
			return nil
		}
		return err
	})
}

// onlyConflicts is true if every error that was joined is a conflict.
func onlyConflicts(err error) bool {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return errors.Is(err, manifests.ErrConflict)
	}
	for _, e := range joined.Unwrap() {
		if !errors.Is(e, manifests.ErrConflict) {
			return false
		}
	}
	return true
}
