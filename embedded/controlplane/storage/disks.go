package storage

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	storagelisters "k8s.io/client-go/listers/storage/v1"

	"github.com/klkube/kl/embedded/node/storage"
)

// discovered is the provisioner of volumes of disks. No plugin has that name, so Kubernetes leaves reclaiming to kl.
const discovered = "disks." + storage.Driver

const (
	diskNodeLabel = discovered + "/node"
	diskNameLabel = discovered + "/disk"
)

// disks keeps one PersistentVolume of class local-storage for each disk that nodes discover, as
// sig-storage-local-static-provisioner does. A released volume is emptied and created again. One whose disk is gone is deleted
// unless it is bound.
type disks struct {
	client  kubernetes.Interface
	volumes corelisters.PersistentVolumeLister
	classes storagelisters.StorageClassLister
	log     *slog.Logger
}

// publish creates, empties and deletes volumes until they match the disks in states.
func (d *disks) publish(ctx context.Context, states map[string]storage.State, agent func(node string) storage.Agent) error {
	own, err := labels.Parse(diskNodeLabel)
	if err != nil {
		return err
	}
	list, err := d.volumes.List(own)
	if err != nil {
		return err
	}
	have := map[string]*corev1.PersistentVolume{}
	var errs []error
	for _, pv := range list {
		have[pv.Name] = pv
		errs = append(errs, d.review(ctx, pv, states, agent))
	}
	for node, state := range states {
		for _, disk := range state.Disks {
			pv := d.volume(node, disk)
			if have[pv.Name] != nil {
				continue
			}
			_, err := d.client.CoreV1().PersistentVolumes().Create(ctx, pv, metav1.CreateOptions{})
			if err == nil {
				d.log.InfoContext(ctx, "found disk", "volume", pv.Name, "node", node, "path", disk.Path)
			} else if !apierrors.IsAlreadyExists(err) { // otherwise the cache is behind
				errs = append(errs, fmt.Errorf("create volume of disk %s on node %s: %w", disk.Name, node, err))
			}
		}
	}
	return errors.Join(errs...)
}

// review empties a released volume and deletes one without a disk.
func (d *disks) review(ctx context.Context, pv *corev1.PersistentVolume, states map[string]storage.State, agent func(string) storage.Agent) error {
	node, name := pv.Labels[diskNodeLabel], pv.Labels[diskNameLabel]
	state, connected := states[node]
	if !connected {
		return d.reviewDisconnected(ctx, pv, node)
	}
	mounted := false
	for _, disk := range state.Disks {
		mounted = mounted || disk.Name == name
	}
	switch {
	case pv.Status.Phase == corev1.VolumeBound, mounted && !pvReclaims(pv):
		return nil
	case mounted:
		if err := agent(node).Clean(ctx, name); err != nil {
			return fmt.Errorf("empty disk %s: %w", name, err)
		}
		d.log.InfoContext(ctx, "emptied disk", "volume", pv.Name, "node", node)
	}
	return d.remove(ctx, pv)
}

// reviewDisconnected reviews a volume whose node is not connected: it is deleted if the node was removed.
func (d *disks) reviewDisconnected(ctx context.Context, pv *corev1.PersistentVolume, node string) error {
	if pv.Status.Phase == corev1.VolumeBound {
		return nil
	}
	_, err := d.client.CoreV1().Nodes().Get(ctx, node, metav1.GetOptions{ResourceVersion: "0"})
	if apierrors.IsNotFound(err) {
		return d.remove(ctx, pv)
	}
	return err
}

func (d *disks) remove(ctx context.Context, pv *corev1.PersistentVolume) error {
	err := d.client.CoreV1().PersistentVolumes().Delete(ctx, pv.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &pv.UID}})
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	return err
}

// volume returns the volume of a disk. Its name follows from node and disk, so that it is created once.
func (d *disks) volume(node string, disk storage.Disk) *corev1.PersistentVolume {
	h := fnv.New32a()
	fmt.Fprintf(h, "%s/%s", node, disk.Name)
	reclaim, mode := corev1.PersistentVolumeReclaimDelete, corev1.PersistentVolumeFilesystem
	if class, err := d.classes.Get(storage.LocalClass); err == nil && class.ReclaimPolicy != nil {
		reclaim = *class.ReclaimPolicy
	}
	return &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{
			Name:        fmt.Sprintf("disk-%s-%08x", node, h.Sum32()),
			Labels:      map[string]string{diskNodeLabel: node, diskNameLabel: disk.Name},
			Annotations: map[string]string{"pv.kubernetes.io/provisioned-by": discovered},
		},
		Spec: corev1.PersistentVolumeSpec{
			Capacity:                      corev1.ResourceList{corev1.ResourceStorage: *resource.NewQuantity(disk.Capacity, resource.BinarySI)},
			AccessModes:                   []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			PersistentVolumeReclaimPolicy: reclaim, VolumeMode: &mode, StorageClassName: storage.LocalClass,
			PersistentVolumeSource: corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{Path: disk.Path}},
			NodeAffinity:           onNode(node),
		},
	}
}
