package convert

import (
	"slices"

	"go.yaml.in/yaml/v3"
)

// webhooks writes out the defaults that v1 changed, and the fields that it requires.
func webhooks(o *object) string {
	for _, w := range items(o.node, "webhooks") {
		if w.Kind != yaml.MappingNode {
			continue
		}
		o.writeDefault(w, "", "webhooks.failurePolicy", str("Ignore"), "today's is Fail")
		o.writeDefault(w, "", "webhooks.matchPolicy", str("Exact"), "today's is Equivalent")
		o.writeDefault(w, "", "webhooks.timeoutSeconds", integer(30), "today's is 10")
		o.writeDefault(w, "", "webhooks.admissionReviewVersions", stringsOf("v1beta1"), "it is required today")
		key, effects := find(w, "sideEffects")
		if key == nil {
			key = w
		}
		if effects == nil || effects.Value != "None" && effects.Value != "NoneOnDryRun" {
			was := "Unknown, the default"
			if effects != nil {
				was = effects.Value
			}
			set(w, "sideEffects", like(effects, "None"))
			o.changed(key, "sideEffects is now None, and was %s, which v1 refuses: write NoneOnDryRun if the webhook changes anything but the object", was)
		}
		o.webhookRules(w)
	}
	return ""
}

// externalHooks converts what webhooks were in Kubernetes 1.7.
func externalHooks(o *object) string {
	if key, _ := find(o.node, "externalAdmissionHooks"); key != nil {
		rename(o.node, "externalAdmissionHooks", "webhooks")
		o.changed(key, "externalAdmissionHooks is now webhooks")
	}
	return webhooks(o)
}

// webhookRules adds today's groups and versions to rules about old ones, which match no request any more.
func (o *object) webhookRules(w *yaml.Node) {
	for _, r := range items(w, "rules") {
		groups, versions := get(r, "apiGroups"), get(r, "apiVersions")
		if groups == nil || versions == nil {
			continue
		}
		added := o.addGroups(r)
		if !slices.Contains(words(versions), "*") && !slices.Contains(words(versions), "v1") &&
			(added || slices.ContainsFunc(words(groups), func(g string) bool { return slices.Contains(movedGroups(), g) })) {
			appendTo(versions, str("v1"))
			o.changed(versions, "v1 is added to apiVersions: requests for %s come as v1 today", groups.Content[len(groups.Content)-1].Value)
		}
	}
}

// movedGroups are those whose kinds have one version today, v1.
func movedGroups() []string {
	return []string{"apps", "batch", "policy", "rbac.authorization.k8s.io", "storage.k8s.io", "networking.k8s.io", "admissionregistration.k8s.io",
		"apiextensions.k8s.io", "apiregistration.k8s.io", "scheduling.k8s.io", "coordination.k8s.io"}
}

// addGroups adds to a rule about the group extensions those groups that its resources belong to today, and reports whether it did.
func (o *object) addGroups(rule *yaml.Node) bool {
	groups := get(rule, "apiGroups")
	if groups == nil || groups.Kind != yaml.SequenceNode || !slices.Contains(words(groups), "extensions") {
		return false
	}
	moved := map[string]string{
		"deployments": "apps", "deployments/scale": "apps", "deployments/status": "apps", "daemonsets": "apps", "daemonsets/status": "apps",
		"replicasets": "apps", "replicasets/scale": "apps", "replicasets/status": "apps", "ingresses": "networking.k8s.io",
		"ingresses/status": "networking.k8s.io", "networkpolicies": "networking.k8s.io", "horizontalpodautoscalers": "autoscaling", "jobs": "batch",
	}
	var add []string
	for _, resource := range words(rule, "resources") {
		if to := moved[resource]; to != "" {
			add = append(add, to)
		} else if resource == "*" {
			add = append(add, "apps", "networking.k8s.io")
		}
	}
	changed := false
	for _, group := range add {
		if !slices.Contains(words(groups), group) && !slices.Contains(words(groups), "*") {
			appendTo(groups, str(group))
			o.changed(groups, "%s is added to apiGroups: its resources have left the group extensions", group)
			changed = true
		}
	}
	return changed
}

// policyBinding writes out what was no field at first.
func policyBinding(o *object) string {
	o.writeDefault(get(o.node, "spec"), "", "spec.validationActions", stringsOf("Deny"), "it is required today")
	return ""
}
