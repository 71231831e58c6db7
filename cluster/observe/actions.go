package observe

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// Actions changes a cluster, and reads what a snapshot does not hold. It acts with the rights of the user in its rest.Config;
// if the API server refuses, its error is returned. Safe for concurrent use.
type Actions struct {
	config    *rest.Config
	client    kubernetes.Interface
	dynamic   dynamic.Interface
	discovery discovery.DiscoveryInterface
}

// NewActions makes clients; nothing is connected.
func NewActions(config *rest.Config) (*Actions, error) {
	rc := rest.CopyConfig(config)
	rc.QPS, rc.Burst = 50, 100
	rc.UserAgent = "kl-ui"
	client, err := kubernetes.NewForConfig(rc)
	if err != nil {
		return nil, fmt.Errorf("make client: %w", err)
	}
	dyn, err := dynamic.NewForConfig(rc)
	if err != nil {
		return nil, fmt.Errorf("make dynamic client: %w", err)
	}
	return &Actions{config: rc, client: client, dynamic: dyn, discovery: client.Discovery()}, nil
}

// Ref names a rollout.
type Ref struct{ Kind, Namespace, Name string }

func (r Ref) String() string { return r.Kind + " " + r.Namespace + "/" + r.Name }

// resource is the API resource of a rollout's kind.
func (r Ref) resource() schema.GroupVersionResource {
	plural := map[string]string{KindDeployment: "deployments", KindStatefulSet: "statefulsets", KindDaemonSet: "daemonsets"}
	return appsv1.SchemeGroupVersion.WithResource(plural[r.Kind])
}

func (a *Actions) patch(ctx context.Context, r Ref, kind types.PatchType, body any) error {
	raw, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("encode patch: %w", err)
	}
	_, err = a.dynamic.Resource(r.resource()).Namespace(r.Namespace).Patch(ctx, r.Name, kind, raw, metav1.PatchOptions{FieldManager: "kl-ui"})
	return err
}

type object = map[string]any

// Restart rolls all pods of a rollout, as `kubectl rollout restart` does. Annotations, if there are any, are added to the pod template.
func (a *Actions) Restart(ctx context.Context, r Ref, now time.Time, annotations map[string]string) error {
	all := map[string]string{"kubectl.kubernetes.io/restartedAt": now.Format(time.RFC3339)}
	maps.Copy(all, annotations)
	err := a.patch(ctx, r, types.StrategicMergePatchType, object{"spec": object{"template": object{"metadata": object{"annotations": all}}}})
	if err != nil {
		return fmt.Errorf("restart %s: %w", r, err)
	}
	return nil
}

// Pause stops (or resumes) a Deployment's rollout.
func (a *Actions) Pause(ctx context.Context, r Ref, paused bool) error {
	if err := a.patch(ctx, r, types.MergePatchType, object{"spec": object{"paused": paused}}); err != nil {
		return fmt.Errorf("pause %s: %w", r, err)
	}
	return nil
}

// Scale sets the number of replicas through the scale subresource.
func (a *Actions) Scale(ctx context.Context, r Ref, n int32) error {
	raw, err := json.Marshal(object{"spec": object{"replicas": n}})
	if err != nil {
		return fmt.Errorf("encode patch: %w", err)
	}
	_, err = a.dynamic.Resource(r.resource()).Namespace(r.Namespace).
		Patch(ctx, r.Name, types.MergePatchType, raw, metav1.PatchOptions{FieldManager: "kl-ui"}, "scale")
	if err != nil {
		return fmt.Errorf("scale %s: %w", r, err)
	}
	return nil
}

// Partition sets which pods of a StatefulSet stay on the old revision: those whose number is below n.
func (a *Actions) Partition(ctx context.Context, r Ref, n int32) error {
	err := a.patch(ctx, r, types.MergePatchType, object{"spec": object{"updateStrategy": object{
		"type": "RollingUpdate", "rollingUpdate": object{"partition": n}}}})
	if err != nil {
		return fmt.Errorf("set partition of %s: %w", r, err)
	}
	return nil
}

// SetImage replaces the image of one container.
func (a *Actions) SetImage(ctx context.Context, r Ref, container, image string) error {
	err := a.patch(ctx, r, types.StrategicMergePatchType, object{"spec": object{"template": object{"spec": object{
		"containers": []object{{"name": container, "image": image}}}}}})
	if err != nil {
		return fmt.Errorf("set image of %s: %w", r, err)
	}
	return nil
}

// Undo restores the template of an earlier revision, which it reads from the server.
func (a *Actions) Undo(ctx context.Context, r Ref, revision Revision) error {
	if r.Kind == KindDeployment {
		return a.undoDeployment(ctx, r, revision)
	}
	c, err := a.client.AppsV1().ControllerRevisions(r.Namespace).Get(ctx, revision.Name, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("undo %s: %w", r, err)
	}
	_, err = a.dynamic.Resource(r.resource()).Namespace(r.Namespace).
		Patch(ctx, r.Name, types.StrategicMergePatchType, c.Data.Raw, metav1.PatchOptions{FieldManager: "kl-ui"})
	if err != nil {
		return fmt.Errorf("undo %s: %w", r, err)
	}
	return nil
}

func (a *Actions) undoDeployment(ctx context.Context, r Ref, revision Revision) error {
	rs, err := a.client.AppsV1().ReplicaSets(r.Namespace).Get(ctx, revision.Name, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("undo %s: %w", r, err)
	}
	template := rs.Spec.Template.DeepCopy()
	delete(template.Labels, appsv1.DefaultDeploymentUniqueLabelKey)
	patch := []object{{"op": "replace", "path": "/spec/template", "value": template}}
	if err := a.patch(ctx, r, types.JSONPatchType, patch); err != nil {
		return fmt.Errorf("undo %s: %w", r, err)
	}
	return nil
}

// Cordon makes a node unschedulable, or schedulable again.
func (a *Actions) Cordon(ctx context.Context, node string, on bool) error {
	raw, err := json.Marshal(object{"spec": object{"unschedulable": on}})
	if err != nil {
		return fmt.Errorf("encode patch: %w", err)
	}
	if _, err := a.client.CoreV1().Nodes().Patch(ctx, node, types.MergePatchType, raw, metav1.PatchOptions{FieldManager: "kl-ui"}); err != nil {
		return fmt.Errorf("cordon node %s: %w", node, err)
	}
	return nil
}

// Delete deletes any object; its dependents are deleted in the background. An object that is still there afterwards, because
// it ends gracefully or has finalizers, is described by pending.
func (a *Actions) Delete(ctx context.Context, res Resource, namespace, name string) (pending string, err error) {
	policy, objects := metav1.DeletePropagationBackground, a.resource(res, namespace)
	if err := objects.Delete(ctx, name, metav1.DeleteOptions{PropagationPolicy: &policy}); err != nil {
		return "", fmt.Errorf("delete %s %s: %w", res.GVR.Resource, name, err)
	}
	o, err := objects.Get(ctx, name, metav1.GetOptions{})
	if err != nil || o.GetDeletionTimestamp() == nil { // it is gone, was made again, or must not be read
		return "", nil
	}
	return terminating(o), nil
}

// Events returns the events about an object, oldest first.
func (a *Actions) Events(ctx context.Context, namespace, kind, name string) ([]corev1.Event, error) {
	list, err := a.client.CoreV1().Events(namespace).List(ctx, metav1.ListOptions{
		FieldSelector: "involvedObject.kind=" + kind + ",involvedObject.name=" + name, Limit: 500})
	if err != nil {
		return nil, fmt.Errorf("list events of %s %s: %w", kind, name, err)
	}
	slices.SortFunc(list.Items, func(x, y corev1.Event) int { return EventTime(&x).Compare(EventTime(&y)) })
	return list.Items, nil
}
