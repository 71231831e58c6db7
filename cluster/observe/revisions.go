package observe

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
)

// Revision is one pod template in the history of a rollout.
type Revision struct {
	Number   int64
	Name     string    // of the ReplicaSet or ControllerRevision
	UID      types.UID // of it
	Current  bool      // the newest template
	Cause    string    // kubernetes.io/change-cause
	Created  time.Time
	Template *corev1.PodTemplateSpec
	Pods     []*corev1.Pod
	Desired  int32 // ReplicaSet only
}

// NewestReplicaSet returns the ReplicaSet of a Deployment's current template: the one with the highest revision.
func NewestReplicaSet(s *Snapshot, d *appsv1.Deployment) *appsv1.ReplicaSet {
	var newest *appsv1.ReplicaSet
	want := d.Annotations[revisionAnnotation]
	for _, rs := range s.ReplicaSetsOf(d.UID) {
		if rs.Annotations[revisionAnnotation] == want && want != "" {
			return rs
		}
		if newest == nil || revisionOf(rs) > revisionOf(newest) {
			newest = rs
		}
	}
	return newest
}

const (
	revisionAnnotation = "deployment.kubernetes.io/revision"
	causeAnnotation    = "kubernetes.io/change-cause"
)

func revisionOf(rs *appsv1.ReplicaSet) int64 {
	n, err := strconv.ParseInt(rs.Annotations[revisionAnnotation], 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// Revisions returns the history of a rollout, newest first, with the present pods of each revision.
func Revisions(s *Snapshot, r *Rollout) []Revision {
	var out []Revision
	switch o := r.Object.(type) {
	case *appsv1.Deployment:
		newest := NewestReplicaSet(s, o)
		for _, rs := range s.ReplicaSetsOf(o.UID) {
			out = append(out, Revision{Number: revisionOf(rs), Name: rs.Name, UID: rs.UID, Current: rs == newest,
				Cause: rs.Annotations[causeAnnotation], Created: rs.CreationTimestamp.Time,
				Template: &rs.Spec.Template, Pods: s.PodsOf(rs.UID), Desired: replicas(rs.Spec.Replicas)})
		}
	default:
		out = controllerRevisions(s, r)
	}
	slices.SortFunc(out, func(a, b Revision) int { return int(b.Number - a.Number) })
	return out
}

func controllerRevisions(s *Snapshot, r *Rollout) []Revision {
	var out []Revision
	list := s.RevisionsOf(r.UID)
	newest := newestRevision(list)
	for _, c := range list {
		t, err := templateOf(c, r.Template)
		if err != nil {
			t = nil // shown as "not readable" by the diff
		}
		hash := c.Labels[appsv1.ControllerRevisionHashLabelKey]
		if hash == "" {
			hash = c.Name
		}
		out = append(out, Revision{Number: c.Revision, Name: c.Name, UID: c.UID, Current: c == newest,
			Cause: c.Annotations[causeAnnotation], Created: c.CreationTimestamp.Time, Template: t,
			Pods: withHash(s.PodsOf(r.UID), hash, true)})
	}
	return out
}

// templateOf applies a ControllerRevision, which is a patch of the owner's spec.template.
func templateOf(c *appsv1.ControllerRevision, base *corev1.PodTemplateSpec) (*corev1.PodTemplateSpec, error) {
	whole, err := json.Marshal(map[string]any{"spec": map[string]any{"template": base}})
	if err != nil {
		return nil, fmt.Errorf("encode template: %w", err)
	}
	patched, err := strategicpatch.StrategicMergePatch(whole, c.Data.Raw, appsv1.DaemonSet{})
	if err != nil {
		return nil, fmt.Errorf("apply revision %d: %w", c.Revision, err)
	}
	var out struct {
		Spec struct {
			Template corev1.PodTemplateSpec `json:"template"`
		} `json:"spec"`
	}
	if err := json.Unmarshal(patched, &out); err != nil {
		return nil, fmt.Errorf("decode revision %d: %w", c.Revision, err)
	}
	return &out.Spec.Template, nil
}

// Images returns the images of a template without registry, path and digest.
func Images(t *corev1.PodTemplateSpec) []string {
	if t == nil {
		return nil
	}
	var out []string
	for i := range t.Spec.Containers {
		image, _, _ := strings.Cut(t.Spec.Containers[i].Image, "@")
		if j := strings.LastIndexByte(image, '/'); j >= 0 {
			image = image[j+1:]
		}
		out = append(out, image)
	}
	return out
}

// createFailure shortens the API server's error for a pod that it refuses to the quota, policy or webhook that refuses it.
func createFailure(msg string) string {
	msg = strings.Join(strings.Fields(msg), " ")
	switch {
	case strings.Contains(msg, "exceeded quota:"):
		return "quota refuses more pods: " + after(msg, "exceeded quota: ")
	case strings.Contains(msg, "violates PodSecurity"):
		return "Pod Security refuses the pods: " + after(msg, "violates PodSecurity ")
	case strings.Contains(msg, "admission webhook"):
		return "an admission webhook refuses the pods: " + after(msg, "admission webhook ")
	case strings.Contains(msg, "serviceaccount") && strings.Contains(msg, "not found"):
		return "its service account does not exist: " + after(msg, "error looking up service account ")
	case strings.Contains(msg, "is forbidden:"):
		return "pods are refused: " + after(msg, "is forbidden: ")
	}
	return "pods cannot be created: " + msg
}

func after(s, sep string) string {
	if i := strings.Index(s, sep); i >= 0 {
		return s[i+len(sep):]
	}
	return s
}
