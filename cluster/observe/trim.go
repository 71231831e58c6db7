package observe

import (
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// trim is the informers' transform: it drops from an object what no screen shows, so that the memory needed does not depend on
// what people put into annotations, environments and volumes. What needs the whole object (YAML, describe, undo) reads it from
// the server.
func trim(obj any) (any, error) {
	if m, ok := obj.(metav1.Object); ok {
		m.SetManagedFields(nil)
		if a := m.GetAnnotations(); len(a) > 0 {
			m.SetAnnotations(trimAnnotations(a))
		}
	}
	switch o := obj.(type) {
	case *corev1.Pod:
		trimPodSpec(&o.Spec)
		if o.DeletionTimestamp == nil {
			o.Finalizers = nil // else they are what the pod waits for
		}
		if o.Status.Phase == corev1.PodRunning {
			o.Status.Conditions = trimConditions(o.Status.Conditions)
		}
		for i := range o.Status.ContainerStatuses {
			trimContainerStatus(&o.Status.ContainerStatuses[i])
		}
		for i := range o.Status.InitContainerStatuses {
			trimContainerStatus(&o.Status.InitContainerStatuses[i])
		}
	case *corev1.Node:
		o.Status.Images = nil
		o.Status.VolumesInUse = nil
		o.Status.VolumesAttached = nil
	case *corev1.Event:
		*o = corev1.Event{
			TypeMeta:   o.TypeMeta,
			ObjectMeta: metav1.ObjectMeta{Namespace: o.Namespace, Name: o.Name, UID: o.UID, ResourceVersion: o.ResourceVersion, CreationTimestamp: o.CreationTimestamp},
			InvolvedObject: corev1.ObjectReference{Kind: o.InvolvedObject.Kind, Namespace: o.InvolvedObject.Namespace,
				Name: o.InvolvedObject.Name, UID: o.InvolvedObject.UID, FieldPath: o.InvolvedObject.FieldPath},
			Reason: o.Reason, Message: o.Message, Type: o.Type, Count: o.Count, Series: o.Series,
			EventTime: o.EventTime, FirstTimestamp: o.FirstTimestamp, LastTimestamp: o.LastTimestamp,
			Source: corev1.EventSource{Component: o.Source.Component}, ReportingController: o.ReportingController,
		}
	case *appsv1.ReplicaSet:
		if o.Spec.Replicas != nil && *o.Spec.Replicas == 0 {
			o.Status.Conditions = nil
		}
	}
	return obj, nil
}

// trimAnnotations keeps short annotations (revisions, change causes, restart times) and drops documents.
func trimAnnotations(in map[string]string) map[string]string {
	out := map[string]string{}
	for k, v := range in {
		if k != corev1.LastAppliedConfigAnnotation && len(v) <= 256 {
			out[k] = v
		}
	}
	if len(out) == 0 {
		return nil
	}
	return out
}

func trimPodSpec(s *corev1.PodSpec) {
	*s = corev1.PodSpec{
		NodeName: s.NodeName, HostNetwork: s.HostNetwork, ServiceAccountName: s.ServiceAccountName,
		RestartPolicy: s.RestartPolicy, PriorityClassName: s.PriorityClassName, ReadinessGates: s.ReadinessGates,
		TerminationGracePeriodSeconds: s.TerminationGracePeriodSeconds,
		Containers:                    trimContainers(s.Containers), InitContainers: trimContainers(s.InitContainers),
	}
}

func trimContainers(in []corev1.Container) []corev1.Container {
	out := make([]corev1.Container, len(in))
	for i, c := range in {
		out[i] = corev1.Container{Name: c.Name, Image: c.Image, Resources: c.Resources, Ports: c.Ports, RestartPolicy: c.RestartPolicy}
		if c.ReadinessProbe != nil {
			out[i].ReadinessProbe = &corev1.Probe{}
		}
	}
	return out
}

// trimConditions drops the conditions that are true for every running pod.
func trimConditions(in []corev1.PodCondition) []corev1.PodCondition {
	var out []corev1.PodCondition
	for _, c := range in {
		if c.Type == corev1.PodReady || c.Status != corev1.ConditionTrue {
			out = append(out, c)
		}
	}
	return out
}

func trimContainerStatus(s *corev1.ContainerStatus) {
	s.ImageID, s.ContainerID, s.VolumeMounts, s.AllocatedResources, s.Resources = "", "", nil, nil, nil
	s.User, s.AllocatedResourcesStatus = nil, nil
}
