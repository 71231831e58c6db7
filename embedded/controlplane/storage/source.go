package storage

import (
	"context"
	"errors"
	"fmt"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	snapshotclient "github.com/kubernetes-csi/external-snapshotter/client/v8/clientset/versioned"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"

	"github.com/klkube/kl/embedded/node/storage"
)

// source is where the data of a claim's volume comes from.
type source struct {
	storage.Source
	name  string            // of the object that the claim names, for messages
	node  string            // where the data is; empty if every node has it
	size  resource.Quantity // of the volume that was or is copied
	block bool
}

// errWait is returned for a data source that is not ready yet.
var errWait = errors.New("not ready yet")

// sources finds the data sources of claims.
type sources struct {
	client    kubernetes.Interface
	snapshots snapshotclient.Interface
}

// of returns the data source of a claim; nil if it has none. The error is errWait if there will be one.
func (s sources) of(ctx context.Context, claim *corev1.PersistentVolumeClaim) (*source, error) {
	group, kind, name, err := named(claim)
	if err != nil || name == "" {
		return nil, err
	}
	var found *source
	switch {
	case group == "" && kind == "PersistentVolumeClaim":
		found, err = s.ofClaim(ctx, claim.Namespace, name)
	case group == snapshotv1.GroupName && kind == "VolumeSnapshot":
		found, err = s.ofSnapshot(ctx, claim.Namespace, name)
	default:
		return nil, fmt.Errorf("dataSource is a %s of group %q: a volume can be made of a VolumeSnapshot or a PersistentVolumeClaim", kind, group)
	}
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", kind, name, err)
	}
	found.name = kind + " " + name
	return found, found.fits(claim)
}

// named returns what the claim names as its data source.
func named(claim *corev1.PersistentVolumeClaim) (group, kind, name string, err error) {
	if ref := claim.Spec.DataSourceRef; ref != nil {
		if ref.Namespace != nil && *ref.Namespace != "" && *ref.Namespace != claim.Namespace {
			return "", "", "", fmt.Errorf("dataSourceRef is in namespace %s: it must be in the claim's", *ref.Namespace)
		}
		return ptr.Deref(ref.APIGroup, ""), ref.Kind, ref.Name, nil
	}
	if ref := claim.Spec.DataSource; ref != nil {
		return ptr.Deref(ref.APIGroup, ""), ref.Kind, ref.Name, nil
	}
	return "", "", "", nil
}

// fits returns why the claim cannot have the data.
func (s *source) fits(claim *corev1.PersistentVolumeClaim) error {
	if want := claim.Spec.Resources.Requests[corev1.ResourceStorage]; want.Cmp(s.size) < 0 {
		return fmt.Errorf("the claim requests %s, and %s has %s: request that or more", want.String(), s.name, s.size.String())
	}
	if isBlock(claim.Spec.VolumeMode) != s.block {
		return fmt.Errorf("the claim and %s have different volumeModes", s.name)
	}
	return nil
}

// ofClaim returns the volume of a claim as a source.
func (s sources) ofClaim(ctx context.Context, namespace, name string) (*source, error) {
	claim, err := s.client.CoreV1().PersistentVolumeClaims(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, missing(err)
	}
	if claim.Status.Phase != corev1.ClaimBound || claim.Spec.VolumeName == "" {
		return nil, fmt.Errorf("%w: it has no volume", errWait)
	}
	if claim.DeletionTimestamp != nil {
		return nil, errors.New("it is being deleted")
	}
	pv, err := s.client.CoreV1().PersistentVolumes().Get(ctx, claim.Spec.VolumeName, metav1.GetOptions{})
	if err != nil {
		return nil, missing(err)
	}
	if pv.Spec.CSI == nil || pv.Spec.CSI.Driver != storage.Driver {
		return nil, fmt.Errorf("its volume is not one of %s", storage.Driver)
	}
	return &source{
		Source: storage.Source{Kind: kindOf(pv), Volume: pv.Spec.CSI.VolumeHandle}, node: nodeOf(pv),
		size: pv.Spec.Capacity[corev1.ResourceStorage], block: isBlock(pv.Spec.VolumeMode),
	}, nil
}

// missing is an error for people about an object that was not found.
func missing(err error) error {
	if apierrors.IsNotFound(err) {
		return errors.New("there is none")
	}
	return err
}

// ofSnapshot returns a snapshot as a source.
func (s sources) ofSnapshot(ctx context.Context, namespace, name string) (*source, error) {
	snapshot, err := s.snapshots.SnapshotV1().VolumeSnapshots(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, missing(err)
	}
	if snapshot.DeletionTimestamp != nil {
		return nil, errors.New("it is being deleted")
	}
	state := snapshot.Status
	if state != nil && state.Error != nil && (state.ReadyToUse == nil || !*state.ReadyToUse) {
		return nil, fmt.Errorf("it could not be made: %s", ptr.Deref(state.Error.Message, ""))
	}
	if state == nil || state.ReadyToUse == nil || !*state.ReadyToUse || state.BoundVolumeSnapshotContentName == nil {
		return nil, errWait
	}
	content, err := s.snapshots.SnapshotV1().VolumeSnapshotContents().Get(ctx, *state.BoundVolumeSnapshotContentName, metav1.GetOptions{})
	if err != nil {
		return nil, missing(err)
	}
	if content.Spec.Driver != storage.Driver {
		return nil, fmt.Errorf("it is one of driver %s, not of %s", content.Spec.Driver, storage.Driver)
	}
	if ref := content.Spec.VolumeSnapshotRef; ref.UID != snapshot.UID || ref.Name != name || ref.Namespace != namespace {
		return nil, fmt.Errorf("VolumeSnapshotContent %s is bound to another VolumeSnapshot", content.Name)
	}
	if content.Status == nil || content.Status.SnapshotHandle == nil || content.Status.RestoreSize == nil {
		return nil, errWait
	}
	h, err := parseHandle(*content.Status.SnapshotHandle)
	if err != nil {
		return nil, err
	}
	mode := content.Spec.SourceVolumeMode
	return &source{
		Source: storage.Source{Kind: h.kind, Snapshot: h.id}, node: h.node,
		size: *resource.NewQuantity(*content.Status.RestoreSize, resource.BinarySI), block: isBlock(mode),
	}, nil
}
