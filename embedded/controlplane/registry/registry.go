// Package registry serves the registry that the clusters of a home share, and announces it in each of them.
package registry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/registry"
	"github.com/klkube/kl/embedded/controlplane/manifests"
	"github.com/klkube/kl/embedded/lifecycle"
)

const (
	portInterval    = time.Second // between looks at the port, which is another cluster's choice as well
	announceTimeout = 30 * time.Second
)

// Server is a component of the control plane: it listens if no other cluster of the home does, and keeps ConfigMap
// local-registry-hosting in kube-public true. Its fields are set before Run and not changed.
type Server struct {
	Store  *registry.Store
	Port   int // that it should listen on; 0 for none: the announcement of an earlier run is taken back
	Admin  *rest.Config
	Logger *slog.Logger
}

var _ lifecycle.Component = (*Server)(nil)

// Name implements lifecycle.Component.
func (s *Server) Name() cluster.ComponentName { return "registry" }

// Run implements lifecycle.Component. It is ready at once: no node needs it.
func (s *Server) Run(ctx context.Context, ready func()) error {
	ready()
	client, err := manifests.Client(s.Admin)
	if err != nil {
		return err
	}
	if s.Port == 0 {
		if err := s.withdraw(ctx, client); err != nil {
			return err
		}
		<-ctx.Done()
		return ctx.Err()
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.Store.Serve(ctx, s.Port) })
	g.Go(func() error { return s.announce(ctx, client) })
	return g.Wait()
}

// announce announces the registry, and again when its port has changed.
func (s *Server) announce(ctx context.Context, client dynamic.Interface) error {
	look := time.NewTicker(portInterval)
	defer look.Stop()
	for announced := 0; ; {
		if port := s.Store.Port(); port != announced {
			if err := s.apply(ctx, client, port); err != nil {
				return err
			}
			announced = port
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-look.C:
		}
	}
}

// apply writes the announcement, unless a user has written one: for a registry of the user's own.
func (s *Server) apply(ctx context.Context, client dynamic.Interface, port int) error {
	objects, err := manifests.Registry(port)
	if err != nil {
		return err
	}
	err = manifests.ApplyWithin(ctx, announceTimeout, client, objects, manifests.Yield)
	if errors.Is(err, manifests.ErrConflict) {
		s.Logger.Warn("the registry is not announced, since its ConfigMap is a user's", "reason", manifests.Summary(err))
		return nil
	}
	if err != nil {
		return fmt.Errorf("announce registry: %w", manifests.Summary(err))
	}
	return nil
}

// withdraw takes back what an earlier run announced.
func (s *Server) withdraw(ctx context.Context, client dynamic.Interface) error {
	objects, err := manifests.Registry(0)
	if err != nil {
		return err
	}
	for _, o := range objects {
		own, err := manifests.Own(ctx, client, o)
		if err != nil {
			return fmt.Errorf("take back the registry's announcement: %w", err)
		}
		if !own {
			continue
		}
		maps := client.Resource(schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}).Namespace(o.GetNamespace())
		if err := maps.Delete(ctx, o.GetName(), metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("take back the registry's announcement: %w", err)
		}
	}
	return nil
}
