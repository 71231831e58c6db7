package convert

import (
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// podTemplate is a pod, or the template that an object makes pods of.
type podTemplate struct {
	*object
	top *yaml.Node // with metadata and spec
}

// podTemplates returns the pod templates of an object.
func (o *object) podTemplates() []podTemplate {
	var path []string
	switch o.kind {
	case "Pod":
	case "PodTemplate":
		path = []string{"template"}
	case "Deployment", "DaemonSet", "ReplicaSet", "StatefulSet", "PetSet", "Job", "ReplicationController":
		path = []string{"spec", "template"}
	case "CronJob", "ScheduledJob":
		path = []string{"spec", "jobTemplate", "spec", "template"}
	default:
		return nil
	}
	top := get(o.node, path...)
	if !o.builtIn() || top == nil || top.Kind != yaml.MappingNode {
		return nil
	}
	return []podTemplate{{o, top}}
}

// builtIn reports whether the object is one of Kubernetes' own, and not of a kind of the same name.
func (o *object) builtIn() bool {
	group, _, grouped := strings.Cut(o.api, "/")
	return !grouped || slices.Contains([]string{"apps", "batch", "extensions", "autoscaling", "policy"}, group) || strings.HasSuffix(group, ".k8s.io")
}

// convert turns annotations of a pod into the fields that they became.
func (t podTemplate) convert() {
	spec := get(t.top, "spec")
	if spec == nil || spec.Kind != yaml.MappingNode {
		return
	}
	t.initContainers(spec)
	t.scheduling(spec)
	t.names(spec)
	t.seccomp(spec)
	t.appArmor(spec)
	t.sysctls(spec)
	t.containers(spec)
	if key, v := annotation(t.top, "pod.alpha.kubernetes.io/initialized"); key != nil {
		dropAnnotation(t.top, key.Value)
		if v.Value == "false" {
			t.left(key, "annotation %s held the pods of a StatefulSet back one by one and is removed: use updateStrategy.rollingUpdate.partition, or a readiness gate", key.Value)
		} else {
			t.changed(key, "annotation %s is removed: a StatefulSet waits for its pods to be ready", key.Value)
		}
	}
}

// annotation returns an annotation of something that has metadata; nil if it is absent.
func annotation(top *yaml.Node, name string) (key, value *yaml.Node) {
	return find(get(top, "metadata", "annotations"), name)
}

func (o *object) annotation(name string) (key, value *yaml.Node) { return annotation(o.node, name) }

// dropAnnotation removes an annotation, and the mapping that held it if it is empty then.
func dropAnnotation(top *yaml.Node, name string) {
	metadata := get(top, "metadata")
	annotations := get(metadata, "annotations")
	remove(annotations, name)
	if annotations != nil && len(annotations.Content) == 0 {
		remove(metadata, "annotations")
	}
	if metadata != nil && len(metadata.Content) == 0 {
		remove(top, "metadata")
	}
}

// decoded returns the JSON of an annotation as a tree. One that is damaged is left for a person.
func (o *object) decoded(key, value *yaml.Node) *yaml.Node {
	n, err := parseJSON(value.Value, 0)
	if err != nil {
		o.left(key, "annotation %s is not valid JSON, and not converted: write the field out by hand", key.Value)
		return nil
	}
	fresh := copyOf(n, false)
	forget(fresh)
	return fresh
}

// forget takes the lines out of a tree, which are those of another text.
func forget(n *yaml.Node) {
	n.Line, n.Column = 0, 0
	for _, e := range n.Content {
		forget(e)
	}
}

func (t podTemplate) initContainers(spec *yaml.Node) {
	for _, stage := range []string{"beta", "alpha"} {
		prefix := "pod." + stage + ".kubernetes.io/"
		if key, _ := annotation(t.top, prefix+"init-container-statuses"); key != nil {
			dropAnnotation(t.top, key.Value)
			t.changed(key, "annotation %s is removed: it was status", key.Value)
		}
		key, v := annotation(t.top, prefix+"init-containers")
		if key == nil {
			continue
		}
		containers := t.decoded(key, v)
		if containers == nil {
			continue
		}
		dropAnnotation(t.top, key.Value)
		if get(spec, "initContainers") != nil {
			t.changed(key, "annotation %s is removed: spec.initContainers says it", key.Value)
			continue
		}
		remove(spec, "initContainers")
		insert(spec, "containers", "initContainers", containers)
		t.moved(key, spec, "initContainers")
		t.changed(key, "annotation %s is now spec.initContainers: it is ignored since Kubernetes 1.8", key.Value)
	}
}

func (t podTemplate) scheduling(spec *yaml.Node) {
	const prefix = "scheduler.alpha.kubernetes.io/"
	if key, v := annotation(t.top, prefix+"affinity"); key != nil {
		if affinity := t.decoded(key, v); affinity != nil {
			dropAnnotation(t.top, key.Value)
			if get(spec, "affinity") == nil {
				remove(spec, "affinity")
				insert(spec, "containers", "affinity", affinity)
				t.moved(key, spec, "affinity")
			}
			t.changed(key, "annotation %s is now spec.affinity: it is ignored since Kubernetes 1.8", key.Value)
		}
	}
	if key, v := annotation(t.top, prefix+"tolerations"); key != nil {
		if tolerations := t.decoded(key, v); tolerations != nil {
			dropAnnotation(t.top, key.Value)
			if l := list(spec, "containers", "tolerations"); l != nil {
				appendTo(l, tolerations.Content...)
				t.moved(key, spec, "tolerations")
			}
			t.changed(key, "annotation %s is now in spec.tolerations: it is ignored since Kubernetes 1.8", key.Value)
		}
	}
	if key, v := annotation(t.top, prefix+"name"); key != nil {
		dropAnnotation(t.top, key.Value)
		insert(spec, "containers", "schedulerName", str(v.Value))
		t.moved(key, spec, "schedulerName")
		t.changed(key, "annotation %s is now spec.schedulerName", key.Value)
	}
	if key, _ := annotation(t.top, prefix+"critical-pod"); key != nil {
		class := "system-cluster-critical"
		if t.kind == "DaemonSet" {
			class = "system-node-critical"
		}
		dropAnnotation(t.top, key.Value)
		if text(spec, "priorityClassName") == "" {
			remove(spec, "priorityClassName")
			insert(spec, "containers", "priorityClassName", str(class))
			t.moved(key, spec, "priorityClassName")
		}
		t.changed(key, "annotation %s is now spec.priorityClassName: %s: it is ignored since Kubernetes 1.16", key.Value, text(spec, "priorityClassName"))
	}
	taints := map[string]string{
		"node.alpha.kubernetes.io/notReady":    "node.kubernetes.io/not-ready",
		"node.alpha.kubernetes.io/unreachable": "node.kubernetes.io/unreachable",
	}
	for _, toleration := range items(spec, "tolerations") {
		if _, key := find(toleration, "key"); key != nil && taints[key.Value] != "" {
			set(toleration, "key", like(key, taints[key.Value]))
			t.changed(key, "the taint %s is now %s", key.Value, taints[key.Value])
		}
	}
}

// names converts hostname and subdomain.
func (t podTemplate) names(spec *yaml.Node) {
	for _, stage := range []string{"beta", "alpha"} {
		for _, field := range []string{"hostname", "subdomain"} {
			key, v := annotation(t.top, "pod."+stage+".kubernetes.io/"+field)
			if key == nil {
				continue
			}
			dropAnnotation(t.top, key.Value)
			if text(spec, field) == "" {
				remove(spec, field)
				insert(spec, "containers", field, str(v.Value))
				t.moved(key, spec, field)
			}
			t.changed(key, "annotation %s is now spec.%s", key.Value, field)
		}
	}
}

func (t podTemplate) sysctls(spec *yaml.Node) {
	for _, name := range []string{"sysctls", "unsafe-sysctls"} {
		key, v := annotation(t.top, "security.alpha.kubernetes.io/"+name)
		if key == nil {
			continue
		}
		l := list(child(spec, "containers", "securityContext"), "", "sysctls")
		for _, s := range strings.Split(v.Value, ",") {
			if name, value, ok := strings.Cut(strings.TrimSpace(s), "="); ok && l != nil {
				appendTo(l, mapping("name", name, "value", value))
			}
		}
		dropAnnotation(t.top, key.Value)
		t.changed(key, "annotation %s is now spec.securityContext.sysctls", key.Value)
	}
}

// containers returns the containers of a pod, those for its start included.
func containers(spec *yaml.Node) []*yaml.Node {
	return slices.Concat(items(spec, "initContainers"), items(spec, "containers"))
}

// containers converts names of resources.
func (t podTemplate) containers(spec *yaml.Node) {
	renamed := map[string]string{
		"alpha.kubernetes.io/nvidia-gpu": "nvidia.com/gpu",
		"storage.kubernetes.io/overlay":  "ephemeral-storage",
		"storage.kubernetes.io/scratch":  "ephemeral-storage",
	}
	for _, c := range containers(spec) {
		t.protocols(items(c, "ports"))
		for _, kind := range []string{"limits", "requests"} {
			resources := get(c, "resources", kind)
			for i, key := range fields(resources) {
				to := renamed[key.Value]
				if i%2 == 1 || to == "" {
					continue
				}
				from := key.Value
				if has, _ := find(resources, to); has != nil {
					remove(resources, from)
				} else {
					key.Value = to
				}
				t.changed(key, "the resource %s is now %s", from, to)
			}
		}
		for _, key := range fields(c, "resources", "limits") {
			if strings.HasPrefix(key.Value, "pod.alpha.kubernetes.io/opaque-int-resource-") {
				t.left(key, "the resource %s was removed in Kubernetes 1.9: use an extended resource, such as example.com/%s", key.Value,
					strings.TrimPrefix(key.Value, "pod.alpha.kubernetes.io/opaque-int-resource-"))
			}
		}
	}
}

// protocols writes the names of protocols as API servers want them.
func (o *object) protocols(ports []*yaml.Node) {
	for _, p := range ports {
		_, v := find(p, "protocol")
		if v != nil && slices.Contains([]string{"TCP", "UDP", "SCTP"}, strings.ToUpper(v.Value)) && v.Value != strings.ToUpper(v.Value) {
			set(p, "protocol", like(v, strings.ToUpper(v.Value)))
			o.changed(v, "protocol %s is now %s", v.Value, strings.ToUpper(v.Value))
		}
	}
}

// container returns the container of a name; nil if there is none.
func container(spec *yaml.Node, name string) *yaml.Node {
	for _, c := range containers(spec) {
		if text(c, "name") == name {
			return c
		}
	}
	return nil
}

// profile makes a seccomp or AppArmor profile of an annotation's value; nil if that has no meaning.
func profile(value string) *yaml.Node {
	switch local, ok := strings.CutPrefix(value, "localhost/"); {
	case ok:
		return mapping("type", "Localhost", "localhostProfile", local)
	case value == "runtime/default" || value == "docker/default":
		return mapping("type", "RuntimeDefault")
	case value == "unconfined":
		return mapping("type", "Unconfined")
	}
	return nil
}

func (t podTemplate) seccomp(spec *yaml.Node) {
	if key, v := annotation(t.top, "seccomp.security.alpha.kubernetes.io/pod"); key != nil {
		if t.secure(spec, key, v, "seccompProfile", "1.27") {
			dropAnnotation(t.top, key.Value)
		}
	}
	t.perContainer(spec, "container.seccomp.security.alpha.kubernetes.io/", "seccompProfile", "1.27")
}

func (t podTemplate) appArmor(spec *yaml.Node) {
	t.perContainer(spec, "container.apparmor.security.beta.kubernetes.io/", "appArmorProfile", "1.30")
}

// perContainer converts annotations that end in the name of a container.
func (t podTemplate) perContainer(spec *yaml.Node, prefix, field, since string) {
	annotations := fields(t.top, "metadata", "annotations")
	for i := 0; i+1 < len(annotations); i += 2 {
		key, v := annotations[i], annotations[i+1]
		name, ok := strings.CutPrefix(key.Value, prefix)
		if !ok {
			continue
		}
		c := container(spec, name)
		if c == nil {
			t.left(key, "annotation %s names a container that the pod does not have: remove it, or correct the name", key.Value)
			continue
		}
		if t.secure(c, key, v, field, since) {
			dropAnnotation(t.top, key.Value)
		}
	}
}

// secure puts the profile of an annotation into the security context of a pod or container, unless there is one. It reports whether the
// annotation can go.
func (t podTemplate) secure(of, key, v *yaml.Node, field, since string) bool {
	p := profile(v.Value)
	if p == nil {
		t.left(key, "annotation %s has the value %q, which means nothing today: set securityContext.%s", key.Value, v.Value, field)
		return false
	}
	security := child(of, "containers", "securityContext")
	if get(security, field) == nil {
		remove(security, field)
		set(security, field, p)
		t.moved(key, security, field)
	}
	t.changed(key, "annotation %s is now %s", key.Value, fmt.Sprintf("securityContext.%s: Kubernetes %s and newer read the field", field, since))
	return true
}
