package convert

import (
	"strings"
	"unicode"

	"go.yaml.in/yaml/v3"
)

// thirdPartyResource makes a CustomResourceDefinition of what came before it. Group, kind and plural follow from the name, as the API server
// derived them: cron-tab.stable.example.com is kind CronTab, crontabs in stable.example.com.
func thirdPartyResource(o *object) string {
	_, full := find(get(o.node, "metadata"), "name")
	if full == nil {
		return "it has no metadata.name, of which group and kind follow: add one, such as cron-tab.example.com"
	}
	name, group, ok := strings.Cut(full.Value, ".")
	if !ok || name == "" || !strings.Contains(group, ".") {
		return "metadata.name " + full.Value + " is not KIND.GROUP, such as cron-tab.example.com: correct it"
	}
	kind := camelCase(name)
	single := strings.ToLower(kind)
	plural := pluralOf(single)
	set(get(o.node, "metadata"), "name", like(full, plural+"."+group))
	schema := mapping("type", "object", "x-kubernetes-preserve-unknown-fields", boolean(true))
	if _, description := remove(o.node, "description"); description != nil && description.Value != "" {
		schema.Content = append([]*yaml.Node{plain("description"), description}, schema.Content...)
	}
	versions := sequence()
	_, old := remove(o.node, "versions")
	for i, v := range items(old) {
		versions.Content = append(versions.Content, mapping("name", text(v, "name"), "served", boolean(true), "storage", boolean(i == 0),
			"schema", mapping("openAPIV3Schema", copyOf(schema, false))))
	}
	if len(versions.Content) == 0 {
		return "it has no versions: add one, such as v1"
	}
	set(o.node, "spec", mapping("group", group, "scope", "Namespaced",
		"names", mapping("plural", plural, "singular", single, "kind", kind, "listKind", kind+"List"), "versions", versions))
	o.changed(full, "a CustomResourceDefinition is named PLURAL.GROUP: %s.%s", plural, group)
	o.changed(old, "versions is now spec.versions, with a schema that accepts any field, as a ThirdPartyResource did: objects of it have to be applied again")
	o.approve(group)
	return ""
}

// camelCase turns cron-tab into CronTab.
func camelCase(name string) string {
	var b strings.Builder
	up := true
	for _, r := range name {
		switch {
		case r == '-':
			up = true
			continue
		case up:
			r = unicode.ToUpper(r)
		}
		up = false
		b.WriteRune(r)
	}
	return b.String()
}

// pluralOf is apimachinery's guess of a resource's name.
func pluralOf(single string) string {
	switch single[len(single)-1] {
	case 's':
		return single + "es"
	case 'y':
		return strings.TrimSuffix(single, "y") + "ies"
	}
	return single + "s"
}

// approve adds the annotation that definitions in Kubernetes' own groups need.
func (o *object) approve(group string) {
	const annotation = "api-approved.kubernetes.io"
	if !strings.HasSuffix(group, ".k8s.io") && !strings.HasSuffix(group, ".kubernetes.io") {
		return
	}
	if key, _ := o.annotation(annotation); key == nil {
		set(child(child(o.node, "spec", "metadata"), "", "annotations"), annotation, str("unapproved, made before approval was needed"))
		o.changed(o.node, "annotation %s is added: groups of Kubernetes need it today, or another group", annotation)
	}
}

// definition converts a CustomResourceDefinition of v1beta1.
func definition(o *object) string {
	spec := get(o.node, "spec")
	if spec == nil || spec.Kind != yaml.MappingNode {
		return "it has no spec: nothing says what it defines"
	}
	o.versions(spec)
	o.writeDefault(spec, "names", "spec.scope", str("Namespaced"), "it is required today")
	o.columns(spec)
	preserve := true // the default of v1beta1
	if key, v := remove(spec, "preserveUnknownFields"); key != nil {
		preserve = v.Value != "false"
		o.changed(key, "preserveUnknownFields is removed: v1 accepts false alone, and schemas say what they preserve")
	}
	o.shared(spec)
	for _, v := range items(spec, "versions") {
		o.schema(v, preserve)
	}
	o.conversion(spec)
	if key, _ := remove(o.node, "status"); key != nil {
		o.changed(key, "status is removed: it is the API server's")
	}
	o.approve(text(spec, "group"))
	return ""
}

// versions turns spec.version into an element of spec.versions.
func (o *object) versions(spec *yaml.Node) {
	key, version := find(spec, "version")
	switch {
	case key == nil:
	case len(items(spec, "versions")) == 0:
		remove(spec, "versions")
		key.Value = "versions"
		only := mapping("name", version, "served", boolean(true), "storage", boolean(true))
		only.Line = key.Line
		set(spec, "versions", sequence(only))
		o.changed(key, "spec.version is now the only element of spec.versions")
	default:
		remove(spec, "version")
		o.changed(key, "spec.version is removed: spec.versions says it")
	}
}

// columns renames JSONPath of printer columns, in all places where they can be.
func (o *object) columns(spec *yaml.Node) {
	places := items(spec, "additionalPrinterColumns")
	for _, v := range items(spec, "versions") {
		places = append(places, items(v, "additionalPrinterColumns")...)
	}
	for _, column := range places {
		if key, _ := find(column, "JSONPath"); key != nil {
			key.Value = "jsonPath"
			o.changed(key, "JSONPath of a printer column is now jsonPath")
		}
	}
}

// shared moves what was said once for all versions into each of them.
func (o *object) shared(spec *yaml.Node) {
	for _, f := range []struct{ from, to string }{
		{"validation", "schema"}, {"subresources", "subresources"}, {"additionalPrinterColumns", "additionalPrinterColumns"},
	} {
		key, value := remove(spec, f.from)
		if key == nil {
			continue
		}
		first := true
		for _, v := range items(spec, "versions") {
			if has, _ := find(v, f.to); has != nil {
				continue
			}
			if !first {
				value = copyOf(value, false)
			}
			set(v, f.to, value)
			o.moved(key, v, f.to)
			first = false
		}
		o.changed(key, "spec.%s is now %s of each version", f.from, f.to)
	}
}

// conversion converts the part about the webhook that converts between versions.
func (o *object) conversion(spec *yaml.Node) {
	c := get(spec, "conversion")
	if c == nil || text(c, "strategy") != "Webhook" {
		return
	}
	key, client := remove(c, "webhookClientConfig")
	_, reviews := remove(c, "conversionReviewVersions")
	webhook := child(c, "", "webhook")
	if client != nil {
		set(webhook, "clientConfig", client)
	}
	if reviews == nil {
		reviews = stringsOf("v1beta1")
		o.changed(c, "conversionReviewVersions: v1beta1 is written out, the default of %s: it is required today", o.api)
	}
	if get(webhook, "conversionReviewVersions") == nil {
		set(webhook, "conversionReviewVersions", reviews)
	}
	o.changed(key, "spec.conversion.webhookClientConfig is now spec.conversion.webhook.clientConfig")
}
