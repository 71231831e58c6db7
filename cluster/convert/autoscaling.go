package convert

import (
	"strings"

	"go.yaml.in/yaml/v3"
)

// autoscalerOfExtensions converts the autoscalers of Kubernetes 1.1.
func autoscalerOfExtensions(o *object) string {
	spec := get(o.node, "spec")
	if key, ref := find(spec, "scaleRef"); ref != nil {
		rename(spec, "scaleRef", "scaleTargetRef")
		remove(ref, "subresource")
		o.changed(key, "spec.scaleRef is now spec.scaleTargetRef")
	}
	if key, target := find(spec, "cpuUtilization"); target != nil {
		if percentage := get(target, "targetPercentage"); percentage != nil {
			become(spec, "cpuUtilization", "targetCPUUtilizationPercentage", percentage)
		} else {
			remove(spec, "cpuUtilization")
		}
		o.changed(key, "spec.cpuUtilization is now spec.targetCPUUtilizationPercentage")
	}
	return ""
}

// autoscaler converts the metrics of all versions before autoscaling/v2.
func autoscaler(o *object) string {
	spec := get(o.node, "spec")
	for _, m := range items(spec, "metrics") {
		if o.metric(m) {
			o.changed(m, "the metric is written as autoscaling/v2 has it: metric, and target with its type")
		}
	}
	return ""
}

// metric gives a metric its present shape, and reports whether it had another one.
func (o *object) metric(m *yaml.Node) bool {
	old := false
	for _, source := range []string{"resource", "containerResource", "pods", "object", "external"} {
		s := get(m, source)
		if s == nil || s.Kind != yaml.MappingNode {
			continue
		}
		before := len(s.Content)
		described := get(s, "target")
		if source == "object" && described != nil && get(described, "kind") != nil {
			rename(s, "target", "describedObject")
			o.served(described)
			old = true
		}
		if key, name := find(s, "metricName"); name != nil {
			metric := mapping("name", name)
			for _, selector := range []string{"selector", "metricSelector"} {
				if _, v := remove(s, selector); v != nil {
					set(metric, "selector", v)
				}
			}
			key.Value = "metric"
			set(s, "metric", metric)
			old = true
		}
		for _, t := range []struct{ from, kind, to string }{
			{"targetAverageUtilization", "Utilization", "averageUtilization"},
			{"targetAverageValue", "AverageValue", "averageValue"},
			{"averageValue", "AverageValue", "averageValue"},
			{"targetValue", "Value", "value"},
		} {
			key, v := find(s, t.from)
			if v == nil {
				continue
			}
			if target := get(s, "target"); target != nil { // averageValue comes before targetValue, which is required beside it
				remove(s, t.from)
			} else {
				key.Value = "target"
				set(s, "target", mapping("type", t.kind, t.to, v))
			}
			old = true
		}
		old = old || len(s.Content) != before
	}
	return old
}

// scaleTarget converts what does not depend on the version of an autoscaler: the version of its target, and metrics in annotations.
func (o *object) scaleTarget() {
	if !strings.HasPrefix(o.api, "autoscaling/") && o.api != "extensions/v1beta1" {
		return
	}
	spec := get(o.node, "spec")
	o.served(get(spec, "scaleTargetRef"))
	for _, name := range []string{"autoscaling.alpha.kubernetes.io/conditions", "autoscaling.alpha.kubernetes.io/current-metrics"} {
		if key, _ := o.annotation(name); key != nil {
			dropAnnotation(o.node, name)
			o.changed(key, "annotation %s is removed: it was status", name)
		}
	}
	if key, _ := o.annotation("alpha/target.custom-metrics.podautoscaler.kubernetes.io"); key != nil {
		dropAnnotation(o.node, key.Value)
		o.left(key, "annotation %s is removed, which has had no effect since Kubernetes 1.6: write its metrics into spec.metrics of autoscaling/v2", key.Value)
	}
	o.annotatedMetrics(spec)
}

// annotatedMetrics turns what autoscaling/v1 keeps in annotations into fields of autoscaling/v2.
func (o *object) annotatedMetrics(spec *yaml.Node) {
	key, v := o.annotation("autoscaling.alpha.kubernetes.io/metrics")
	if key != nil {
		metrics := o.decoded(key, v)
		if metrics == nil {
			return
		}
		for _, m := range items(metrics) {
			o.metric(m)
		}
		if _, cpu := remove(spec, "targetCPUUtilizationPercentage"); cpu != nil {
			metrics.Content = append([]*yaml.Node{mapping("type", "Resource", "resource",
				mapping("name", "cpu", "target", mapping("type", "Utilization", "averageUtilization", cpu)))}, metrics.Content...)
		}
		set(spec, "metrics", metrics)
		dropAnnotation(o.node, key.Value)
		o.toV2(key, "spec.metrics")
	}
	if key, v := o.annotation("autoscaling.alpha.kubernetes.io/behavior"); key != nil {
		if behavior := o.decoded(key, v); behavior != nil {
			if _, cpu := remove(spec, "targetCPUUtilizationPercentage"); cpu != nil {
				set(spec, "metrics", sequence(mapping("type", "Resource", "resource",
					mapping("name", "cpu", "target", mapping("type", "Utilization", "averageUtilization", cpu)))))
			}
			set(spec, "behavior", behavior)
			dropAnnotation(o.node, key.Value)
			o.toV2(key, "spec.behavior")
		}
	}
}

func (o *object) toV2(key *yaml.Node, field string) {
	_, api := find(o.node, "apiVersion")
	set(o.node, "apiVersion", like(api, "autoscaling/v2"))
	o.changed(key, "annotation %s is now %s of autoscaling/v2", key.Value, field)
}

// served gives a reference to an object the version that is served today.
func (o *object) served(ref *yaml.Node) {
	_, api := find(ref, "apiVersion")
	if api == nil {
		return
	}
	r, ok := o.c.rules[api.Value+" "+text(ref, "kind")]
	if !ok || r.to == "" {
		return
	}
	set(ref, "apiVersion", like(api, r.to))
	if r.kind != "" {
		_, kind := find(ref, "kind")
		set(ref, "kind", like(kind, r.kind))
	}
	o.changed(api, "a reference to %s %s is now one to %s", api.Value, text(ref, "kind"), r.to)
}
