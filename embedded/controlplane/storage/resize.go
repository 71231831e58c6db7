package storage

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	coreinformers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"

	"github.com/klkube/kl/embedded/controlplane/cloudmetrics"
	"github.com/klkube/kl/embedded/node/storage"
)

// resizer grows volumes whose claim requests more. Volumes are directories and devices, so no file system of kl's has
// to grow: a claim is done when the node has raised the limit, and the kubelet has no part in it.
type resizer struct {
	client   kubernetes.Interface
	agents   agents
	claims   corelisters.PersistentVolumeClaimLister
	volumes  corelisters.PersistentVolumeLister
	events   record.EventRecorder
	requests *cloudmetrics.Requests
	log      *slog.Logger
	queue    claimQueue
}

func newResizer(client kubernetes.Interface, a agents, claims coreinformers.PersistentVolumeClaimInformer,
	volumes corelisters.PersistentVolumeLister, events record.EventRecorder, requests *cloudmetrics.Requests, log *slog.Logger) (*resizer, error) {
	r := &resizer{
		client: client, agents: a, claims: claims.Lister(), volumes: volumes, events: events, requests: requests, log: log,
		queue: newClaimQueue(),
	}
	enqueue := func(obj any) {
		if claim, ok := obj.(*corev1.PersistentVolumeClaim); ok && wantsMore(claim) {
			r.queue.Add(cache.NewObjectName(claim.Namespace, claim.Name))
		}
	}
	_, err := claims.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: enqueue, UpdateFunc: func(_, obj any) { enqueue(obj) }})
	if err != nil {
		return nil, fmt.Errorf("watch claims: %w", err)
	}
	return r, nil
}

// wantsMore reports whether a bound claim requests more than it has.
func wantsMore(claim *corev1.PersistentVolumeClaim) bool {
	have, known := claim.Status.Capacity[corev1.ResourceStorage]
	want := claim.Spec.Resources.Requests[corev1.ResourceStorage]
	return claim.Status.Phase == corev1.ClaimBound && known && want.Cmp(have) > 0
}

// run works until ctx is done.
func (r *resizer) run(ctx context.Context) error {
	return r.queue.run(ctx, func(key cache.ObjectName) (again bool) {
		err := r.sync(ctx, key)
		if err != nil {
			r.log.WarnContext(ctx, "grow volume", "claim", key.String(), "error", err)
		}
		return err != nil
	})
}

// sync grows the volume of a claim if it requests more.
func (r *resizer) sync(ctx context.Context, key cache.ObjectName) error {
	claim, err := r.claims.PersistentVolumeClaims(key.Namespace).Get(key.Name)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil || !wantsMore(claim) {
		return err
	}
	pv, err := r.volumes.Get(claim.Spec.VolumeName)
	if err != nil {
		return err
	}
	if pv.Spec.CSI == nil || pv.Spec.CSI.Driver != storage.Driver {
		return nil
	}
	want := claim.Spec.Resources.Requests[corev1.ResourceStorage]
	if err := r.grow(ctx, pv, want); err != nil {
		r.events.Event(claim, corev1.EventTypeWarning, "VolumeResizeFailed", err.Error())
		return err
	}
	if err := r.finish(ctx, claim, want); err != nil {
		return fmt.Errorf("update claim: %w", err)
	}
	r.events.Eventf(claim, corev1.EventTypeNormal, "VolumeResizeSuccessful", "the volume has %s now", want.String())
	return nil
}

// grow raises the limit on the volume's node and then the capacity of the PersistentVolume.
func (r *resizer) grow(ctx context.Context, pv *corev1.PersistentVolume, want resource.Quantity) (err error) {
	defer func(end func(*error)) { end(&err) }(r.requests.Time("expand_volume"))
	ctx, cancel := context.WithTimeout(ctx, operationTimeout)
	defer cancel()
	v := storage.Volume{Kind: kindOf(pv), ID: pv.Spec.CSI.VolumeHandle, Size: want.Value(), Block: isBlock(pv.Spec.VolumeMode)}
	err = r.agents.of(ctx, pv, func(a storage.Agent) error { _, err := a.Put(ctx, v); return err })
	if err != nil {
		return err
	}
	if have := pv.Spec.Capacity[corev1.ResourceStorage]; have.Cmp(want) >= 0 {
		return nil
	}
	grown := pv.DeepCopy()
	grown.Spec.Capacity[corev1.ResourceStorage] = want
	patch, err := mergePatch(pv, grown)
	if err != nil {
		return err
	}
	_, err = r.client.CoreV1().PersistentVolumes().Patch(ctx, pv.Name, types.MergePatchType, patch, metav1.PatchOptions{})
	return err
}

// finish sets the claim's capacity and removes its resizing conditions.
func (r *resizer) finish(ctx context.Context, claim *corev1.PersistentVolumeClaim, have resource.Quantity) error {
	grown := claim.DeepCopy()
	grown.Status.Capacity[corev1.ResourceStorage] = have
	grown.Status.Conditions = slices.DeleteFunc(grown.Status.Conditions, func(c corev1.PersistentVolumeClaimCondition) bool {
		return c.Type == corev1.PersistentVolumeClaimResizing || c.Type == corev1.PersistentVolumeClaimFileSystemResizePending
	})
	before := claim.DeepCopy()
	before.ResourceVersion = "" // so that the patch has it, and conflicts with a concurrent change
	patch, err := mergePatch(before, grown)
	if err != nil {
		return err
	}
	_, err = r.client.CoreV1().PersistentVolumeClaims(claim.Namespace).Patch(ctx, claim.Name, types.MergePatchType, patch, metav1.PatchOptions{}, "status")
	return err
}

// mergePatch returns the JSON merge patch that changes one object into another.
func mergePatch(before, after any) ([]byte, error) {
	from, err := json.Marshal(before)
	if err != nil {
		return nil, err
	}
	to, err := json.Marshal(after)
	if err != nil {
		return nil, err
	}
	return jsonpatch.CreateMergePatch(from, to)
}
