package storage

import (
	"context"
	"errors"
	"fmt"

	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/kubernetes"
	storagelisters "k8s.io/client-go/listers/storage/v1"

	"github.com/klkube/kl/embedded/node/storage"
)

const (
	capacityNamespace = "kube-system"
	// A change of free space is published if it is larger than both.
	capacityStep  = 16 << 20 // bytes
	capacityShare = 100      // divisor of the published capacity: 1 %
	// reread is after how many surveys the objects are read again, in case a user has changed them.
	reread = 30
)

// capacities publishes the free space of nodes for the scheduler, as one CSIStorageCapacity for each class with
// WaitForFirstConsumer and node. A node that is off has none, so that no pod with a new volume is assigned to it. Volumes
// share the disk, so each class is offered all of the free space.
type capacities struct {
	client  kubernetes.Interface
	classes storagelisters.StorageClassLister

	known map[string]*storagev1.CSIStorageCapacity // as in the API; nil before they are read
	age   int                                      // surveys since then
	gone  map[string]bool                          // known, but not wanted by the last survey
}

func (c *capacities) publish(ctx context.Context, states map[string]storage.State) error {
	wanted, err := c.wanted(states)
	if err != nil {
		return err
	}
	if c.age++; c.known == nil || c.age > reread {
		if err := c.read(ctx); err != nil {
			return err
		}
	}
	var errs []error
	for name, want := range wanted {
		if err := c.put(ctx, name, want); err != nil {
			errs = append(errs, fmt.Errorf("publish capacity: %w", err))
		}
	}
	gone := map[string]bool{}
	for name := range c.known {
		if wanted[name] != nil {
			continue
		}
		if gone[name] = true; !c.gone[name] { // wait for one more survey: nodes reconnect when the control plane starts
			continue
		}
		err := c.objects().Delete(ctx, name, metav1.DeleteOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			errs = append(errs, fmt.Errorf("withdraw capacity: %w", err))
			continue
		}
		delete(c.known, name)
	}
	c.gone = gone
	if len(errs) > 0 {
		c.known = nil
	}
	return errors.Join(errs...)
}

func (c *capacities) objects() interface {
	Create(context.Context, *storagev1.CSIStorageCapacity, metav1.CreateOptions) (*storagev1.CSIStorageCapacity, error)
	Update(context.Context, *storagev1.CSIStorageCapacity, metav1.UpdateOptions) (*storagev1.CSIStorageCapacity, error)
	Delete(context.Context, string, metav1.DeleteOptions) error
	List(context.Context, metav1.ListOptions) (*storagev1.CSIStorageCapacityList, error)
} {
	return c.client.StorageV1().CSIStorageCapacities(capacityNamespace)
}

func (c *capacities) read(ctx context.Context) error {
	list, err := c.objects().List(ctx, metav1.ListOptions{LabelSelector: ownObjects})
	if err != nil {
		return fmt.Errorf("list capacities: %w", err)
	}
	c.known, c.age = map[string]*storagev1.CSIStorageCapacity{}, 0
	for _, o := range list.Items {
		c.known[o.Name] = &o
	}
	return nil
}

func (c *capacities) put(ctx context.Context, name string, want *storagev1.CSIStorageCapacity) (err error) {
	have := c.known[name]
	if have != nil && !significant(have.Capacity.Value(), want.Capacity.Value()) {
		return nil
	}
	var got *storagev1.CSIStorageCapacity
	if have == nil {
		got, err = c.objects().Create(ctx, want, metav1.CreateOptions{})
	} else {
		want.ResourceVersion = have.ResourceVersion
		got, err = c.objects().Update(ctx, want, metav1.UpdateOptions{})
	}
	if err == nil {
		c.known[name] = got
	}
	return err
}

// significant reports whether a change of capacity, in bytes, is worth an update.
func significant(have, want int64) bool {
	change := max(have-want, want-have)
	return change > capacityStep && change > have/capacityShare
}

// wanted returns the objects that should exist, by name.
func (c *capacities) wanted(states map[string]storage.State) (map[string]*storagev1.CSIStorageCapacity, error) {
	classes, err := c.classes.List(labels.Everything())
	if err != nil {
		return nil, err
	}
	wanted := map[string]*storagev1.CSIStorageCapacity{}
	for _, class := range classes {
		late := class.VolumeBindingMode != nil && *class.VolumeBindingMode == storagev1.VolumeBindingWaitForFirstConsumer
		if class.Provisioner != storage.Driver || !late {
			continue
		}
		for node, state := range states {
			pool, ok := state.Pools[storage.Kind(class.Parameters[storage.KindKey])]
			if !ok || pool.Missing != "" {
				continue
			}
			name := fmt.Sprintf("%s.%s.%s", class.Name, node, storage.Driver)
			wanted[name] = &storagev1.CSIStorageCapacity{
				ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: capacityNamespace, Labels: map[string]string{
					"app.kubernetes.io/managed-by": "kl", "csi.storage.k8s.io/drivername": storage.Driver,
				}},
				NodeTopology:     &metav1.LabelSelector{MatchLabels: map[string]string{storage.TopologyKey: node}},
				StorageClassName: class.Name,
				Capacity:         resource.NewQuantity(pool.Available, resource.BinarySI),
			}
		}
	}
	return wanted, nil
}
