package convert

import (
	"strings"

	"go.yaml.in/yaml/v3"
)

// metadata removes what metadata no longer has, and what has no equivalent.
func (o *object) metadata() {
	metadata := get(o.node, "metadata")
	if key, _ := remove(metadata, "initializers"); key != nil {
		o.left(key, "metadata.initializers is removed: %s", noInitializers)
	}
	if key, _ := remove(metadata, "clusterName"); key != nil {
		o.changed(key, "metadata.clusterName is removed: Kubernetes 1.24 and newer do not know it")
	}
	annotations := fields(metadata, "annotations")
	for i := 0; i < len(annotations); i += 2 {
		key := annotations[i]
		switch {
		case strings.HasPrefix(key.Value, "initializer.kubernetes.io/"):
			dropAnnotation(o.node, key.Value)
			o.left(key, "annotation %s is removed: %s", key.Value, noInitializers)
		case strings.HasPrefix(key.Value, "federation.kubernetes.io/") || strings.HasPrefix(key.Value, "federation.alpha.kubernetes.io/"):
			dropAnnotation(o.node, key.Value)
			o.left(key, "annotation %s is removed: %s", key.Value, noFederation)
		}
	}
	if o.kind == "StatefulSet" || o.kind == "PetSet" {
		o.burst()
	}
}

// claim converts the annotations of a claim, or of a template of claims.
func (o *object) claim(claim *yaml.Node) {
	spec := get(claim, "spec")
	if key, v := annotation(claim, "volume.beta.kubernetes.io/storage-class"); key != nil && spec != nil {
		o.className(claim, spec, key, v)
	}
	if key, _ := annotation(claim, "volume.alpha.kubernetes.io/storage-class"); key != nil {
		dropAnnotation(claim, key.Value)
		o.changed(key, "annotation %s is removed: whatever its value, it asked for the default class, as a claim without spec.storageClassName does", key.Value)
	}
}

// className turns the beta annotation of claims and volumes into the field.
func (o *object) className(top, spec, key, v *yaml.Node) {
	dropAnnotation(top, key.Value)
	if _, name := find(spec, "storageClassName"); name == nil || name.Tag == "!!null" {
		remove(spec, "storageClassName")
		set(spec, "storageClassName", str(v.Value))
		o.moved(key, spec, "storageClassName")
	}
	o.changed(key, "annotation %s is now spec.storageClassName", key.Value)
}

// volume converts the annotations of a PersistentVolume.
func (o *object) volume() {
	spec := get(o.node, "spec")
	if spec == nil || spec.Kind != yaml.MappingNode {
		return
	}
	if key, v := o.annotation("volume.beta.kubernetes.io/storage-class"); key != nil {
		o.className(o.node, spec, key, v)
	}
	if key, v := o.annotation("volume.beta.kubernetes.io/mount-options"); key != nil {
		dropAnnotation(o.node, key.Value)
		if get(spec, "mountOptions") == nil && v.Value != "" {
			options := sequence()
			for _, option := range strings.Split(v.Value, ",") {
				options.Content = append(options.Content, str(strings.TrimSpace(option)))
			}
			set(spec, "mountOptions", options)
			o.moved(key, spec, "mountOptions")
		}
		o.changed(key, "annotation %s is now spec.mountOptions", key.Value)
	}
	if key, v := o.annotation("volume.alpha.kubernetes.io/node-affinity"); key != nil {
		affinity := o.decoded(key, v)
		if affinity == nil {
			return
		}
		dropAnnotation(o.node, key.Value)
		if required := get(affinity, "requiredDuringSchedulingIgnoredDuringExecution"); required != nil && get(spec, "nodeAffinity") == nil {
			set(spec, "nodeAffinity", mapping("required", required))
			o.moved(key, spec, "nodeAffinity")
		}
		o.changed(key, "annotation %s is now spec.nodeAffinity.required", key.Value)
	}
}

func (o *object) storageClass() {
	const old = "storageclass.beta.kubernetes.io/is-default-class"
	key, _ := o.annotation(old)
	if key == nil {
		return
	}
	if today, _ := o.annotation("storageclass.kubernetes.io/is-default-class"); today != nil {
		dropAnnotation(o.node, old)
	} else {
		key.Value = "storageclass.kubernetes.io/is-default-class"
	}
	o.changed(key, "annotation %s is now storageclass.kubernetes.io/is-default-class", old)
}

// machine converts the annotations of a Node.
func (o *object) machine() {
	if key, v := o.annotation("scheduler.alpha.kubernetes.io/taints"); key != nil {
		if taints := o.decoded(key, v); taints != nil {
			dropAnnotation(o.node, key.Value)
			if l := list(child(o.node, "status", "spec"), "", "taints"); l != nil {
				appendTo(l, taints.Content...)
				o.moved(key, get(o.node, "spec"), "taints")
			}
			o.changed(key, "annotation %s is now in spec.taints", key.Value)
		}
	}
	if key, _ := o.annotation("scheduler.alpha.kubernetes.io/preferAvoidPods"); key != nil {
		dropAnnotation(o.node, key.Value)
		o.left(key, "annotation %s is removed, which Kubernetes 1.22 and newer ignore: use a taint of effect PreferNoSchedule", key.Value)
	}
}
