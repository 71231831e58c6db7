package observetest

import (
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	quantity "k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	metricsv1beta1 "k8s.io/metrics/pkg/apis/metrics/v1beta1"
)

// Synthetic makes a cluster of ready nodes and running pods, ten in each Deployment and a hundred in each namespace. The same
// arguments make the same objects.
func Synthetic(nodes, pods int, now time.Time) []runtime.Object {
	var out []runtime.Object
	for i := range nodes {
		out = append(out, Node(fmt.Sprintf("node-%04d", i), now.Add(-24*time.Hour)))
	}
	for i := 0; i < pods; i += 100 {
		name := fmt.Sprintf("team-%02d", i/100)
		out = append(out, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID("ns-" + name), CreationTimestamp: metav1.NewTime(now.Add(-48 * time.Hour)),
			Labels: map[string]string{"kubernetes.io/metadata.name": name}}})
	}
	for i := 0; i < pods; i += 10 {
		out = append(out, Deployment(fmt.Sprintf("team-%02d", i/100), fmt.Sprintf("app-%03d", i/10), min(10, pods-i), 1, nodes, i, now.Add(-time.Hour))...)
	}
	return out
}

// Node makes a ready node.
func Node(name string, created time.Time) *corev1.Node {
	full := corev1.ResourceList{"cpu": quantity.MustParse("8"), "memory": quantity.MustParse("32Gi"), "pods": quantity.MustParse("110")}
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID("node-" + name), CreationTimestamp: metav1.NewTime(created), Labels: map[string]string{"kubernetes.io/hostname": name}}}
	n.Status.Capacity, n.Status.Allocatable = full, full
	n.Status.NodeInfo = corev1.NodeSystemInfo{KubeletVersion: "v1.36.3", OSImage: "kl", KernelVersion: "6.1.0", ContainerRuntimeVersion: "containerd://2.3.7", Architecture: "amd64"}
	n.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "172.18.0.2"}}
	for _, c := range []corev1.NodeConditionType{corev1.NodeMemoryPressure, corev1.NodeDiskPressure, corev1.NodePIDPressure} {
		n.Status.Conditions = append(n.Status.Conditions, corev1.NodeCondition{Type: c, Status: corev1.ConditionFalse, LastTransitionTime: metav1.NewTime(created)})
	}
	n.Status.Conditions = append(n.Status.Conditions, corev1.NodeCondition{Type: corev1.NodeReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(created)})
	return n
}

func controller(kind, name string, uid types.UID) []metav1.OwnerReference {
	yes := true
	return []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: kind, Name: name, UID: uid, Controller: &yes}}
}

// Template makes a pod template with one container.
func Template(app, image string) corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": app}}, Spec: corev1.PodSpec{Containers: []corev1.Container{{
		Name: "main", Image: image, Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 80}}, ReadinessProbe: &corev1.Probe{},
		Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{"cpu": quantity.MustParse("50m"), "memory": quantity.MustParse("64Mi")},
			Limits: corev1.ResourceList{"memory": quantity.MustParse("128Mi")}}}}}}
}

// Deployment makes a complete Deployment at revision rev with its ReplicaSet and running pods, spread over nodes; seed makes the
// addresses of its pods unique.
func Deployment(namespace, name string, replicas, rev, nodes, seed int, created time.Time) []runtime.Object {
	n, at := int32(replicas), metav1.NewTime(created)
	annotations := map[string]string{"deployment.kubernetes.io/revision": fmt.Sprint(rev)}
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, UID: types.UID("d-" + namespace + "-" + name), Generation: 1, CreationTimestamp: at, Annotations: annotations}}
	d.Spec = appsv1.DeploymentSpec{Replicas: &n, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": name}}, Template: Template(name, fmt.Sprintf("example.test/%s:v%d", name, rev)),
		Strategy: appsv1.DeploymentStrategy{Type: appsv1.RollingUpdateDeploymentStrategyType}}
	d.Status = appsv1.DeploymentStatus{ObservedGeneration: 1, Replicas: n, UpdatedReplicas: n, ReadyReplicas: n, AvailableReplicas: n}
	rs := ReplicaSet(d, rev, replicas)
	out := []runtime.Object{d, rs}
	for i := range replicas {
		node := ""
		if nodes > 0 {
			node = fmt.Sprintf("node-%04d", (seed+i)%nodes)
		}
		out = append(out, Pod(rs, i, node, fmt.Sprintf("10.%d.%d.%d", 64+(seed+i)/62500, (seed+i)/250%250, (seed+i)%250+1)))
	}
	return out
}

// ReplicaSet makes the ReplicaSet of a Deployment's revision.
func ReplicaSet(d *appsv1.Deployment, rev, replicas int) *appsv1.ReplicaSet {
	n, hash := int32(replicas), fmt.Sprintf("%07x", 0x5f00000+rev)
	rs := &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Namespace: d.Namespace, Name: d.Name + "-" + hash, UID: types.UID(fmt.Sprintf("rs-%s-%s-%d", d.Namespace, d.Name, rev)),
		CreationTimestamp: metav1.NewTime(d.CreationTimestamp.Add(time.Duration(rev-1) * 10 * time.Minute)), OwnerReferences: controller("Deployment", d.Name, d.UID),
		Annotations: map[string]string{"deployment.kubernetes.io/revision": fmt.Sprint(rev)}}}
	rs.Spec = appsv1.ReplicaSetSpec{Replicas: &n, Selector: d.Spec.Selector, Template: Template(d.Name, fmt.Sprintf("example.test/%s:v%d", d.Name, rev))}
	rs.Spec.Template.Labels["pod-template-hash"] = hash
	rs.Status.Replicas, rs.Status.ReadyReplicas = n, n
	return rs
}

// Pod makes a running pod of a ReplicaSet.
func Pod(rs *appsv1.ReplicaSet, i int, node, ip string) *corev1.Pod {
	at := metav1.NewTime(rs.CreationTimestamp.Add(time.Duration(i) * time.Second))
	started := true
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: rs.Namespace, Name: fmt.Sprintf("%s-%05d", rs.Name, i), UID: types.UID(fmt.Sprintf("p-%s-%s-%d", rs.Namespace, rs.Name, i)),
		CreationTimestamp: at, Labels: rs.Spec.Template.Labels, OwnerReferences: controller("ReplicaSet", rs.Name, rs.UID)}, Spec: *rs.Spec.Template.Spec.DeepCopy()}
	p.Spec.NodeName = node
	p.Status = corev1.PodStatus{Phase: corev1.PodRunning, PodIP: ip, PodIPs: []corev1.PodIP{{IP: ip}}, StartTime: &at,
		Conditions:        []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: at}},
		ContainerStatuses: []corev1.ContainerStatus{{Name: "main", Ready: true, Started: &started, Image: p.Spec.Containers[0].Image, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: at}}}}}
	return p
}

// SyntheticUsage returns the metrics of a cluster of Synthetic, for Server.Usage.
func SyntheticUsage(objects []runtime.Object) func() ([]metricsv1beta1.NodeMetrics, []metricsv1beta1.PodMetrics) {
	return func() (nodes []metricsv1beta1.NodeMetrics, pods []metricsv1beta1.PodMetrics) {
		for i, o := range objects {
			use := corev1.ResourceList{"cpu": *quantity.NewMilliQuantity(int64(10+i%90), quantity.DecimalSI), "memory": *quantity.NewQuantity(int64(20+i%80)<<20, quantity.BinarySI)}
			switch o := o.(type) {
			case *corev1.Node:
				use["cpu"] = *quantity.NewMilliQuantity(int64(500+i*7%4000), quantity.DecimalSI)
				use["memory"] = *quantity.NewQuantity(int64(4+i%20)<<30, quantity.BinarySI)
				nodes = append(nodes, metricsv1beta1.NodeMetrics{ObjectMeta: metav1.ObjectMeta{Name: o.Name}, Usage: use})
			case *corev1.Pod:
				pods = append(pods, metricsv1beta1.PodMetrics{ObjectMeta: metav1.ObjectMeta{Namespace: o.Namespace, Name: o.Name}, Containers: []metricsv1beta1.ContainerMetrics{{Name: "main", Usage: use}}})
			}
		}
		return nodes, pods
	}
}
