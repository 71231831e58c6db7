package convert

import (
	"cmp"
	"fmt"
	"math"
	"strings"

	"go.yaml.in/yaml/v3"
)

// withDefaultSelector writes out what old versions took from the labels of the pod template: the selector, which is required today, and
// the labels of the object.
func withDefaultSelector(o *object) string {
	spec := get(o.node, "spec")
	labels := get(spec, "template", "metadata", "labels")
	if labels == nil || labels.Kind != yaml.MappingNode || len(labels.Content) == 0 {
		if get(spec, "selector") == nil {
			o.left(spec, "no selector, and no labels in the pod template to make one of: add both")
		}
		return ""
	}
	if get(spec, "selector") == nil {
		remove(spec, "selector")
		insert(spec, "template", "selector", mapping("matchLabels", copyOf(labels, false)))
		o.changed(spec, "spec.selector is written out, from the labels of the pod template: it is required today")
	}
	metadata := child(o.node, "spec", "metadata")
	if l := get(metadata, "labels"); metadata != nil && (l == nil || len(l.Content) == 0) {
		remove(metadata, "labels")
		set(metadata, "labels", copyOf(labels, false))
		o.changed(metadata, "metadata.labels is written out, from the labels of the pod template: %s took them from there", o.api)
	}
	return ""
}

// writeDefault writes out the default that a field of m had in the old version, where today's is another. path is for the note; its last
// part is the field.
func (o *object) writeDefault(m *yaml.Node, before, path string, value *yaml.Node, today string) {
	if m == nil || m.Kind != yaml.MappingNode {
		return
	}
	field := path[strings.LastIndex(path, ".")+1:]
	if _, v := find(m, field); v != nil && v.Tag != "!!null" {
		return
	}
	remove(m, field)
	insert(m, before, field, value)
	shown := value.Value
	if value.Kind != yaml.ScalarNode {
		shown = strings.Join(words(value), ", ")
	}
	o.changed(m, "%s: %s is written out, the default of %s: %s", path, shown, o.api, today)
}

func deploymentOfExtensions(o *object) string {
	o.dropRollback()
	spec := get(o.node, "spec")
	if spec == nil || spec.Kind != yaml.MappingNode {
		return ""
	}
	withDefaultSelector(o)
	if text(spec, "strategy", "type") != "Recreate" {
		rolling := child(child(spec, "template", "strategy"), "", "rollingUpdate")
		o.writeDefault(rolling, "", "spec.strategy.rollingUpdate.maxSurge", integer(1), "today's is 25%")
		o.writeDefault(rolling, "", "spec.strategy.rollingUpdate.maxUnavailable", integer(1), "today's is 25%")
	}
	o.writeDefault(spec, "template", "spec.revisionHistoryLimit", integer(math.MaxInt32), "no limit, where today's is 10")
	o.writeDefault(spec, "template", "spec.progressDeadlineSeconds", integer(math.MaxInt32), "none, where today's is 600")
	return ""
}

func deploymentOfBeta(o *object) string {
	o.dropRollback()
	withDefaultSelector(o)
	o.writeDefault(get(o.node, "spec"), "template", "spec.revisionHistoryLimit", integer(2), "today's is 10")
	return ""
}

func (o *object) dropRollback() {
	if key, v := remove(get(o.node, "spec"), "rollbackTo"); key != nil {
		o.changed(key, "spec.rollbackTo is removed: rolling back is kubectl rollout undo today, with --to-revision=%s", cmp.Or(text(v, "revision"), "N"))
	}
}

func daemonSetOfExtensions(o *object) string {
	spec := get(o.node, "spec")
	if key, _ := remove(spec, "templateGeneration"); key != nil {
		o.changed(key, "spec.templateGeneration is removed: revisions of the template are ControllerRevisions today")
	}
	withDefaultSelector(o)
	o.onDelete(spec)
	return ""
}

// statefulSetOfBeta is for PetSets, too.
func statefulSetOfBeta(o *object) string {
	withDefaultSelector(o)
	o.onDelete(get(o.node, "spec"))
	return ""
}

// onDelete writes out the update strategy that was the default before RollingUpdate.
func (o *object) onDelete(spec *yaml.Node) {
	if spec != nil && text(spec, "updateStrategy", "type") == "" {
		o.writeDefault(child(spec, "template", "updateStrategy"), "", "spec.updateStrategy.type", str("OnDelete"), "today's is RollingUpdate")
	}
}

// burst turns the annotation of the first days of parallel StatefulSets into the field.
func (o *object) burst() {
	const annotation = "statefulset.alpha.kubernetes.io/burst"
	key, v := o.annotation(annotation)
	spec := get(o.node, "spec")
	if key == nil || spec == nil {
		return
	}
	if v.Value == "true" && text(spec, "podManagementPolicy") == "" {
		insert(spec, "template", "podManagementPolicy", str("Parallel"))
		o.moved(key, spec, "podManagementPolicy")
		o.changed(key, "annotation %s is now spec.podManagementPolicy: Parallel", annotation)
	} else {
		o.changed(key, "annotation %s is removed: spec.podManagementPolicy says it today", annotation)
	}
	dropAnnotation(o.node, annotation)
}

func jobOfExtensions(o *object) string {
	spec := get(o.node, "spec")
	auto := text(spec, "autoSelector") == "true"
	key, _ := remove(spec, "autoSelector")
	if auto {
		o.changed(key, "spec.autoSelector is removed: it is the default today")
		return ""
	}
	if get(spec, "selector") != nil {
		insert(spec, "template", "manualSelector", boolean(true))
		o.changed(key, "manualSelector: true is written out: batch/v1 makes selectors by itself otherwise")
	}
	return ""
}

func cronJobOfAlpha(o *object) string {
	spec := get(o.node, "spec")
	if _, v := find(spec, "successfulJobsHistoryLimit"); v == nil {
		if _, v := find(spec, "failedJobsHistoryLimit"); v == nil { // one alone means that the other is 0 or 1: as today
			o.writeDefault(spec, "jobTemplate", "spec.successfulJobsHistoryLimit", integer(math.MaxInt32), "no limit, where today's is 3")
			o.writeDefault(spec, "jobTemplate", "spec.failedJobsHistoryLimit", integer(math.MaxInt32), "no limit, where today's is 1")
		}
	}
	return cronJob(o)
}

// cronJob takes a time zone out of the schedule.
func cronJob(o *object) string {
	spec := get(o.node, "spec")
	_, schedule := find(spec, "schedule")
	if schedule == nil {
		return ""
	}
	for _, prefix := range []string{"CRON_TZ=", "TZ="} {
		zone, rest, ok := strings.Cut(strings.TrimPrefix(schedule.Value, prefix), " ")
		if !ok || !strings.HasPrefix(schedule.Value, prefix) {
			continue
		}
		set(spec, "schedule", like(schedule, strings.TrimSpace(rest)))
		if get(spec, "timeZone") == nil {
			insert(spec, "jobTemplate", "timeZone", str(zone))
		}
		o.changed(schedule, "%s of spec.schedule is now spec.timeZone: batch/v1 accepts no zone in the schedule", prefix+zone)
		break
	}
	return ""
}

func disruptionBudget(o *object) string {
	spec := get(o.node, "spec")
	key, selector := find(spec, "selector")
	if selector == nil || selector.Kind != yaml.MappingNode {
		return ""
	}
	labels, expressions := get(selector, "matchLabels"), get(selector, "matchExpressions")
	if (labels == nil || len(labels.Content) == 0) && (expressions == nil || len(expressions.Content) == 0) {
		remove(spec, "selector")
		o.changed(key, "the empty selector is removed: it matched no pod in %s, and would match all of the namespace in policy/v1", o.api)
	}
	return ""
}

// podSecurityPolicy names the level of Pod Security Admission that comes closest.
func podSecurityPolicy(o *object) string {
	spec := get(o.node, "spec")
	level := "baseline"
	volumes := words(spec, "volumes")
	wide := len(items(spec, "allowedCapabilities")) > 0
	for _, v := range volumes {
		wide = wide || v == "*" || v == "hostPath"
	}
	for _, f := range []string{"privileged", "hostNetwork", "hostPID", "hostIPC"} {
		wide = wide || text(spec, f) == "true"
	}
	dropped := strings.Join(words(spec, "requiredDropCapabilities"), " ")
	switch {
	case wide:
		level = "privileged"
	case text(spec, "runAsUser", "rule") == "MustRunAsNonRoot" && text(spec, "allowPrivilegeEscalation") == "false" && strings.Contains(dropped, "ALL"):
		level = "restricted"
	}
	return fmt.Sprintf("PodSecurityPolicy was removed in Kubernetes 1.25: label the namespaces whose pods used it pod-security.kubernetes.io/enforce=%s, "+
		"the level that is closest, and remove the roles that allow its use", level)
}
