// Package dev decides what a new build of an image means for a cluster: which workloads use an older one and are rolled, and what is said
// of them until their new pods are ready. Snapshots and builds go in, rolls and lines come out; it does no I/O.
package dev

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/distribution/reference"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/klkube/kl/cluster/observe"
)

// Annotation of a pod template is the ID of the image that it was rolled for.
const Annotation = "kl.dev/built-image"

// Build is an image that got a name.
type Build struct {
	Name string // as FullName returns it
	ID   string // the engine's
	At   time.Time
}

// FullName returns a name as container runtimes write it, docker.io/library/app:latest for app. It is empty for what a build cannot
// change: a name with a digest, and what is no name.
func FullName(name string) string {
	ref, err := reference.ParseDockerRef(name)
	if err != nil {
		return ""
	}
	if _, pinned := ref.(reference.Digested); pinned {
		return ""
	}
	return ref.String()
}

// Title is the image as people write it, and the beginning of its ID.
func (b Build) Title() string {
	name := b.Name
	if ref, err := reference.ParseNormalizedNamed(name); err == nil {
		name = reference.FamiliarString(ref)
	}
	algorithm, hex, _ := strings.Cut(b.ID, ":")
	return name + " " + algorithm + ":" + hex[:min(len(hex), 12)]
}

// Users are what uses an image.
type Users struct {
	Rollouts []observe.Rollout
	Pods     []*corev1.Pod // that no Deployment, StatefulSet or DaemonSet has made
}

// UsersOf returns what uses an image by its name.
func UsersOf(s *observe.Snapshot, name string, now time.Time) Users {
	var u Users
	for _, r := range observe.Rollouts(s, now) {
		if slices.Contains(Names(&r.Template.Spec), name) {
			u.Rollouts = append(u.Rollouts, r)
		}
	}
	for _, p := range s.Pods {
		ended := p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed || p.DeletionTimestamp != nil
		if !ended && !rolls(metav1.GetControllerOf(p)) && slices.Contains(Names(&p.Spec), name) {
			u.Pods = append(u.Pods, p)
		}
	}
	return u
}

// rolls reports whether pods of that owner are replaced by a rollout.
func rolls(owner *metav1.OwnerReference) bool {
	return owner != nil && (owner.Kind == "ReplicaSet" || owner.Kind == observe.KindStatefulSet || owner.Kind == observe.KindDaemonSet)
}

// Names returns the full names of the images of a pod that builds can change.
func Names(spec *corev1.PodSpec) []string {
	var names []string
	for _, c := range slices.Concat(spec.InitContainers, spec.Containers) {
		if name := FullName(c.Image); name != "" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// Failed returns the container of a pod that has ended with an error, and whether its log is that of its last run.
func Failed(p *corev1.Pod) (container string, previous, found bool) {
	for _, c := range slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses) {
		if t := c.State.Terminated; t != nil && t.ExitCode != 0 {
			return c.Name, false, true
		}
		if t := c.LastTerminationState.Terminated; t != nil && c.State.Waiting != nil {
			return c.Name, true, true
		}
	}
	return "", false, false
}

// title is what lines call a workload: its name, with its kind and namespace where these are not what one expects.
func title(r observe.Ref, namespace string) string {
	name := r.Name
	switch r.Kind {
	case observe.KindStatefulSet:
		name = "sts/" + name
	case observe.KindDaemonSet:
		name = "ds/" + name
	}
	if r.Namespace != namespace && (namespace != "" || r.Namespace != metav1.NamespaceDefault) {
		name = fmt.Sprintf("%s (%s)", name, r.Namespace)
	}
	return name
}
