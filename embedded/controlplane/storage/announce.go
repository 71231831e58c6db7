package storage

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/embedded/controlplane/manifests"
	"github.com/klkube/kl/embedded/lifecycle"
	"github.com/klkube/kl/embedded/node/storage"
)

const (
	announceRetry = 200 * time.Millisecond
	// patience is how long a cluster's start waits for the classes.
	patience = 10 * time.Second
)

func objects() manifests.Storage {
	return manifests.Storage{
		User: user, Driver: storage.Driver, KindKey: storage.KindKey,
		Standard: storage.StandardClass, Shared: storage.SharedClass, Local: storage.LocalClass, DisksDir: cluster.DisksDir,
	}
}

// announce makes the driver, its classes and the controller's rights, and calls ready then, or when it has tried for long
// enough. What somebody has changed in a class stays so.
func (c *Controller) announce(ctx context.Context, ready func()) error {
	began, waited := time.Now(), false
	for {
		err := c.apply(ctx)
		if !waited && (err == nil || time.Since(began) > patience) {
			ready()
			waited = true
			c.tell(ctx, err)
		}
		if err == nil {
			return nil
		}
		select {
		case <-time.After(announceRetry):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (c *Controller) apply(ctx context.Context) error {
	admin, err := manifests.Client(c.Admin)
	if err != nil {
		return err
	}
	list, err := objects().Objects()
	if err != nil {
		return err
	}
	rights := objects().Rights()
	if err := manifests.Apply(ctx, admin, list[:rights], manifests.Force); err != nil {
		return err
	}
	for i := rights; i < len(list); i++ {
		o, err := list[i], manifests.Apply(ctx, admin, list[i:i+1], manifests.Yield)
		if errors.Is(err, manifests.ErrConflict) || apierrors.IsInvalid(err) {
			c.Logger.InfoContext(ctx, "left as somebody else has made it", "kind", o.GetKind(), "name", o.GetName(), "reason", err)
			continue
		}
		if err != nil {
			return err
		}
	}
	// The rights take effect a moment after they are made; an informer that is refused backs off for a second.
	_, err = c.client.StorageV1().StorageClasses().List(ctx, metav1.ListOptions{Limit: 1})
	if err != nil {
		return fmt.Errorf("use own rights: %w", err)
	}
	return nil
}

// Withdrawal is the component of a cluster that is not to have storage: it removes the classes that kl made in an earlier
// run, and the driver. Volumes and claims stay as they are.
type Withdrawal struct {
	Admin  *rest.Config
	Logger *slog.Logger
}

var _ lifecycle.Component = (*Withdrawal)(nil)

// Name implements the component contract.
func (w *Withdrawal) Name() cluster.ComponentName { return "storage" }

// Run implements the component contract.
func (w *Withdrawal) Run(ctx context.Context, ready func()) error {
	ready()
	client, err := kubernetes.NewForConfig(w.Admin)
	if err != nil {
		return fmt.Errorf("make client: %w", err)
	}
	for {
		err := withdraw(ctx, client)
		if err == nil {
			<-ctx.Done()
			return ctx.Err()
		}
		w.Logger.WarnContext(ctx, "cannot withdraw storage, trying on", "error", err)
		select {
		case <-time.After(patience):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func withdraw(ctx context.Context, client kubernetes.Interface) error {
	own := metav1.ListOptions{LabelSelector: "app.kubernetes.io/managed-by=kl"}
	return errors.Join(
		client.StorageV1().StorageClasses().DeleteCollection(ctx, metav1.DeleteOptions{}, own),
		client.StorageV1().CSIDrivers().DeleteCollection(ctx, metav1.DeleteOptions{}, own),
		client.StorageV1().CSIStorageCapacities(capacityNamespace).DeleteCollection(ctx, metav1.DeleteOptions{}, own),
	)
}
