package storage

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	snapshotclient "github.com/kubernetes-csi/external-snapshotter/client/v8/clientset/versioned"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/embedded/controlplane/await"
	"github.com/klkube/kl/embedded/controlplane/manifests"
	"github.com/klkube/kl/embedded/lifecycle"
	"github.com/klkube/kl/embedded/node/storage"
)

const (
	announceRetry = 200 * time.Millisecond
	// readyTimeout is how long a cluster's start waits for the classes.
	readyTimeout = 10 * time.Second
	// withdrawRetry is the pause between attempts to delete the classes.
	withdrawRetry = 10 * time.Second

	// ownObjects selects what kl has created.
	ownObjects = "app.kubernetes.io/managed-by=kl"
)

// objects describes the driver and its classes.
func objects() manifests.Storage {
	return manifests.Storage{
		User: user, Driver: storage.Driver, KindKey: storage.KindKey,
		Standard: storage.StandardClass, Shared: storage.SharedClass, Local: storage.LocalClass, DisksDir: cluster.DisksDir,
	}
}

// announce creates the driver, its classes and the controller's rights until all exist. It calls ready then, or when
// admission refuses them, or after readyTimeout, with the error in the status. Changes that a user made to a class stay.
func (c *Controller) announce(ctx context.Context, ready func()) error {
	began, called := time.Now(), false
	return await.Success(ctx, announceRetry, func(ctx context.Context) error {
		err := c.apply(ctx)
		if !called && (err == nil || manifests.Refused(err) || time.Since(began) > readyTimeout) {
			c.setError(ctx, manifests.Summary(err))
			ready()
			called = true
		} else if called && err == nil {
			c.setError(ctx, nil)
		}
		return err
	})
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
	if err := manifests.Apply(ctx, admin, list[:rights], manifests.Force); err != nil && !manifests.OnlyConflicts(err) {
		return err
	}
	if err := c.yield(ctx, admin, list[rights:]); err != nil {
		return err
	}
	// Rights take effect a moment after they are created, and an informer that is refused backs off for a second.
	_, err = c.client.StorageV1().StorageClasses().List(ctx, metav1.ListOptions{Limit: 1})
	if err != nil {
		return fmt.Errorf("use own rights: %w", err)
	}
	return nil
}

// yield applies objects, and leaves those alone that a user has changed.
func (c *Controller) yield(ctx context.Context, admin dynamic.Interface, list []*unstructured.Unstructured) error {
	for i, o := range list {
		err := manifests.Apply(ctx, admin, list[i:i+1], manifests.Yield)
		if errors.Is(err, manifests.ErrConflict) || apierrors.IsInvalid(err) {
			c.Logger.InfoContext(ctx, "object that a user changed is left as it is", "kind", o.GetKind(), "name", o.GetName(), "reason", err)
			continue
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Withdrawal is the component of a cluster whose storage is disabled: it deletes the driver and the classes of an earlier
// run. Volumes, claims and snapshots stay.
type Withdrawal struct {
	Admin  *rest.Config
	Logger *slog.Logger
}

var _ lifecycle.Component = (*Withdrawal)(nil)

// Name implements lifecycle.Component.
func (w *Withdrawal) Name() cluster.ComponentName { return "storage" }

// Run implements lifecycle.Component.
func (w *Withdrawal) Run(ctx context.Context, ready func()) error {
	ready()
	client, err := kubernetes.NewForConfig(w.Admin)
	if err != nil {
		return fmt.Errorf("make client: %w", err)
	}
	snapshots, err := snapshotclient.NewForConfig(withoutProtobuf(w.Admin))
	if err != nil {
		return fmt.Errorf("make client: %w", err)
	}
	err = await.Success(ctx, withdrawRetry, func(ctx context.Context) error {
		err := withdraw(ctx, client, snapshots)
		if err != nil {
			w.Logger.WarnContext(ctx, "withdraw storage", "error", err, "retry", withdrawRetry)
		}
		return err
	})
	if err != nil {
		return err
	}
	<-ctx.Done()
	return ctx.Err()
}

func withdraw(ctx context.Context, client kubernetes.Interface, snapshots snapshotclient.Interface) error {
	own := metav1.ListOptions{LabelSelector: ownObjects}
	classes := snapshots.SnapshotV1().VolumeSnapshotClasses().DeleteCollection(ctx, metav1.DeleteOptions{}, own)
	if apierrors.IsNotFound(classes) { // the API of snapshots was never created
		classes = nil
	}
	return errors.Join(
		classes,
		client.StorageV1().StorageClasses().DeleteCollection(ctx, metav1.DeleteOptions{}, own),
		client.StorageV1().CSIDrivers().DeleteCollection(ctx, metav1.DeleteOptions{}, own),
		client.StorageV1().CSIStorageCapacities(capacityNamespace).DeleteCollection(ctx, metav1.DeleteOptions{}, own),
	)
}
