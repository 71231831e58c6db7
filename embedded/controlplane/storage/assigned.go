package storage

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	coreinformers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	storagelisters "k8s.io/client-go/listers/storage/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"

	"github.com/klkube/kl/embedded/node/storage"
)

// selectedNode is the annotation with which the scheduler asks for a claim's volume on a node.
const selectedNode = "volume.kubernetes.io/selected-node"

// assigner selects the node for claims of pods that name their node themselves: the scheduler, which selects it otherwise,
// never sees such pods, and their claims would wait for ever. And for claims whose data is on one node, which the scheduler does not know:
// it puts a claim's pod where the claim's volume will be.
type assigner struct {
	client  kubernetes.Interface
	sources sources
	events  record.EventRecorder
	claims  corelisters.PersistentVolumeClaimLister
	classes storagelisters.StorageClassLister
	log     *slog.Logger
	queue   claimQueue
}

func newAssigner(sources sources, claims coreinformers.PersistentVolumeClaimInformer,
	classes storagelisters.StorageClassLister, events record.EventRecorder, log *slog.Logger) (*assigner, error) {
	a := &assigner{
		client: sources.client, sources: sources, claims: claims.Lister(), classes: classes, events: events, log: log,
		queue: newClaimQueue(),
	}
	enqueue := func(obj any) {
		if claim, ok := obj.(*corev1.PersistentVolumeClaim); ok && unassigned(claim) {
			key := cache.NewObjectName(claim.Namespace, claim.Name)
			if hasSource(claim) { // before the scheduler
				a.queue.Add(key)
			} else { // it mostly comes first
				a.queue.AddRateLimited(key)
			}
		}
	}
	_, err := claims.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: enqueue, UpdateFunc: func(_, obj any) { enqueue(obj) }})
	if err != nil {
		return nil, fmt.Errorf("watch claims: %w", err)
	}
	return a, nil
}

// unassigned reports whether a claim of a class has neither a volume nor a node for it.
func unassigned(claim *corev1.PersistentVolumeClaim) bool {
	return claim.Status.Phase != corev1.ClaimBound && claim.Spec.VolumeName == "" &&
		claim.Spec.StorageClassName != nil && claim.Annotations[selectedNode] == ""
}

// waits reports whether volumes of a class wait for their first consumer and come from this driver. A class that does not
// exist may still be made.
func (a *assigner) waits(class string) bool {
	c, err := a.classes.Get(class)
	return apierrors.IsNotFound(err) || err == nil && c.Provisioner == storage.Driver &&
		c.VolumeBindingMode != nil && *c.VolumeBindingMode == storagev1.VolumeBindingWaitForFirstConsumer
}

// run works until ctx is done.
func (a *assigner) run(ctx context.Context) error {
	return a.queue.run(ctx, func(key cache.ObjectName) (again bool) {
		waiting, err := a.sync(ctx, key)
		if err != nil {
			a.log.WarnContext(ctx, "select the node of a claim", "claim", key.String(), "error", err)
		}
		return waiting || err != nil
	})
}

// sync selects the node of a claim if its data is on one, or if a pod with a node of its own uses it. It reports whether the claim still
// waits.
func (a *assigner) sync(ctx context.Context, key cache.ObjectName) (waiting bool, err error) {
	claim, err := a.claims.PersistentVolumeClaims(key.Namespace).Get(key.Name)
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil || !unassigned(claim) || !a.waits(*claim.Spec.StorageClassName) {
		return false, err
	}
	if hasSource(claim) {
		from, err := a.sources.of(ctx, claim)
		if err != nil {
			if !errors.Is(err, errWait) {
				a.events.Event(claim, corev1.EventTypeWarning, "ProvisioningFailed", err.Error())
			}
			return true, nil
		}
		if from != nil && from.node != "" {
			return a.assign(ctx, claim, from.node, from.name)
		}
	}
	assigned := fields.ParseSelectorOrDie("spec.nodeName!=,status.phase=Pending").String()
	pods, err := a.client.CoreV1().Pods(key.Namespace).List(ctx, metav1.ListOptions{FieldSelector: assigned, ResourceVersion: "0"})
	if err != nil {
		return true, err
	}
	for i := range pods.Items {
		pod := &pods.Items[i]
		if pod.Spec.NodeName == "" || !uses(pod, claim) {
			continue
		}
		return a.assign(ctx, claim, pod.Spec.NodeName, "pod "+pod.Name)
	}
	return true, nil
}

// assign selects the node of a claim. It reports whether the claim still waits.
func (a *assigner) assign(ctx context.Context, claim *corev1.PersistentVolumeClaim, node, because string) (waiting bool, err error) {
	claim = claim.DeepCopy()
	metav1.SetMetaDataAnnotation(&claim.ObjectMeta, selectedNode, node)
	_, err = a.client.CoreV1().PersistentVolumeClaims(claim.Namespace).Update(ctx, claim, metav1.UpdateOptions{})
	if apierrors.IsConflict(err) { // the scheduler, or a change that brings the claim back
		return true, nil
	}
	if err == nil {
		a.log.InfoContext(ctx, "selected the node of a claim", "claim", claim.Namespace+"/"+claim.Name, "node", node, "because", because)
	}
	return err != nil, err
}

func hasSource(claim *corev1.PersistentVolumeClaim) bool {
	return claim.Spec.DataSource != nil || claim.Spec.DataSourceRef != nil
}

// uses reports whether a pod mounts a claim, by name or as an ephemeral volume.
func uses(pod *corev1.Pod, claim *corev1.PersistentVolumeClaim) bool {
	for _, v := range pod.Spec.Volumes {
		if v.PersistentVolumeClaim != nil && v.PersistentVolumeClaim.ClaimName == claim.Name ||
			v.Ephemeral != nil && pod.Name+"-"+v.Name == claim.Name && metav1.IsControlledBy(claim, pod) {
			return true
		}
	}
	return false
}
