package convert

import (
	"strings"

	"go.yaml.in/yaml/v3"
)

const (
	preserveFields = "x-kubernetes-preserve-unknown-fields"
	intOrString    = "x-kubernetes-int-or-string"
)

// schema gives a version of a definition the structural schema that v1 requires. With preserve, unknown fields stay, as they did before
// there was pruning.
func (o *object) schema(version *yaml.Node, preserve bool) {
	if version.Kind != yaml.MappingNode {
		return
	}
	if s := get(version, "schema", "openAPIV3Schema"); s == nil || s.Kind != yaml.MappingNode || len(s.Content) == 0 {
		remove(version, "schema")
		set(version, "schema", mapping("openAPIV3Schema", mapping("type", "object", preserveFields, boolean(true))))
		o.changed(version, "version %s gets a schema that accepts any field: v1 requires a schema", text(version, "name"))
		return
	}
	root := get(version, "schema", "openAPIV3Schema")
	s := structural{o, preserve}
	if text(root, "type") == "" {
		insert(root, "properties", "type", str("object"))
		o.changed(root, "type: object is added to the schema: v1 requires a type")
	}
	for _, name := range []string{"apiVersion", "kind"} {
		if p := get(root, "properties", name); p != nil {
			s.only(p, "type", "description")
		}
	}
	if p := get(root, "properties", "metadata"); p != nil {
		s.metadata(p)
	}
	s.fix(root, "", true)
	if preserve {
		o.changed(root, "%s is added to the objects of the schema of version %s: unknown fields were not pruned in %s", preserveFields,
			text(version, "name"), o.api)
	}
}

// structural makes a schema structural.
type structural struct {
	*object
	preserve bool
}

// only removes the fields of a schema that are not listed.
func (s structural) only(n *yaml.Node, allowed ...string) {
	for i, key := range fields(n) {
		if i%2 == 0 && !strings.Contains(" "+strings.Join(allowed, " ")+" ", " "+key.Value+" ") {
			remove(n, key.Value)
			s.changed(key, "%s is removed from the schema: v1 does not allow it there", key.Value)
		}
	}
}

// metadata leaves of a schema of metadata what may be said about it: name and generateName.
func (s structural) metadata(n *yaml.Node) {
	s.only(n, "type", "description", "properties")
	if p := get(n, "properties"); p != nil {
		s.only(p, "name", "generateName")
		if len(p.Content) == 0 {
			remove(n, "properties")
		}
	}
}

// fix makes a schema and all below it structural. path is where it is, for messages.
func (s structural) fix(n *yaml.Node, path string, root bool) {
	if n == nil || n.Kind != yaml.MappingNode {
		return
	}
	for _, gone := range []string{"id", "$schema", "$ref", "definitions", "dependencies", "patternProperties", "additionalItems", "deprecated",
		"discriminator", "readOnly", "writeOnly", "xml"} {
		if key, _ := remove(n, gone); key != nil {
			s.changed(key, "%s is removed from the schema: v1 does not allow it", gone)
		}
	}
	if key, v := find(n, "uniqueItems"); v != nil && v.Value == "true" {
		remove(n, "uniqueItems")
		s.changed(key, "uniqueItems is removed from the schema: v1 does not allow it; x-kubernetes-list-type: set says the same for single values")
	}
	s.junctors(n)
	s.typed(n, path)
	if key, _ := find(n, "properties"); key != nil {
		if extra, _ := find(n, "additionalProperties"); extra != nil {
			remove(n, "additionalProperties")
			s.changed(extra, "additionalProperties is removed from the schema: v1 does not allow it beside properties")
			s.keepUnknown(n)
		}
	}
	properties := fields(n, "properties")
	for i := 0; i+1 < len(properties); i += 2 {
		if name := properties[i].Value; !root || name != "metadata" && name != "apiVersion" && name != "kind" {
			s.fix(properties[i+1], path+"."+name, false)
		} else {
			s.typed(properties[i+1], path+"."+name)
		}
	}
	if l := get(n, "items"); l != nil && l.Kind == yaml.SequenceNode {
		remove(n, "items")
		set(n, "items", mapping(preserveFields, boolean(true)))
		s.changed(l, "a list of schemas in items is now a schema that accepts anything: v1 has one schema for all elements")
	}
	s.fix(get(n, "items"), path+"[]", false)
	s.fix(get(n, "additionalProperties"), path+".*", false)
	if s.preserve && text(n, "type") == "object" && get(n, "additionalProperties") == nil {
		s.keepUnknown(n)
	}
}

func (s structural) keepUnknown(n *yaml.Node) {
	if get(n, preserveFields) == nil {
		set(n, preserveFields, boolean(true))
	}
}

// typed gives a schema the type that v1 requires, if what it says leaves one possible.
func (s structural) typed(n *yaml.Node, path string) {
	if n.Kind != yaml.MappingNode || text(n, "type") != "" || get(n, intOrString) != nil || get(n, preserveFields) != nil {
		return
	}
	has := func(names ...string) bool {
		for _, name := range names {
			if get(n, name) != nil {
				return true
			}
		}
		return false
	}
	kind := ""
	switch {
	case has("properties", "additionalProperties", "required", "minProperties", "maxProperties"):
		kind = "object"
	case has("items", "minItems", "maxItems"):
		kind = "array"
	case has("pattern", "minLength", "maxLength"):
		kind = "string"
	case has("minimum", "maximum", "multipleOf"):
		kind = "number"
	case len(items(n, "enum")) > 0:
		kind = map[string]string{"!!str": "string", "!!int": "integer", "!!bool": "boolean", "!!float": "number"}[items(n, "enum")[0].Tag]
	}
	if kind == "" {
		set(n, preserveFields, boolean(true))
		s.changed(n, "%s is added at %s of the schema, which accepts anything: v1 requires that, or a type", preserveFields, path)
		return
	}
	first := ""
	if len(n.Content) > 0 {
		first = n.Content[0].Value
	}
	insert(n, first, "type", str(kind))
	s.changed(n, "type: %s is added at %s of the schema: v1 requires a type", kind, path)
}

// junctors makes what stands in allOf, anyOf, oneOf and not conform: there, v1 allows checks of values, but no types.
func (s structural) junctors(n *yaml.Node) {
	all := append(append(append([]*yaml.Node{}, items(n, "allOf")...), items(n, "anyOf")...), items(n, "oneOf")...)
	if not := get(n, "not"); not != nil {
		all = append(all, not)
	}
	types := map[string]bool{}
	for _, j := range all {
		if t := text(j, "type"); t != "" {
			types[t] = true
		}
	}
	if len(types) == 2 && types["integer"] && types["string"] && text(n, "type") == "" {
		for _, junctor := range []string{"anyOf", "oneOf"} {
			if key, v := find(n, junctor); v != nil && plainTypes(v) {
				remove(n, junctor)
				set(n, intOrString, boolean(true))
				s.changed(key, "%s of integer and string is now %s: v1 allows no types there", junctor, intOrString)
				return
			}
		}
	}
	if len(types) == 1 && text(n, "type") == "" && get(n, "not") == nil {
		for t := range types {
			set(n, "type", str(t))
		}
	}
	for _, j := range all {
		s.bare(j)
		s.declare(n, j)
	}
}

// declare adds to a schema the properties that a schema below a junctor checks: v1 wants each to have a type.
func (s structural) declare(n, below *yaml.Node) {
	properties := fields(below, "properties")
	for i := 0; i+1 < len(properties); i += 2 {
		name := properties[i].Value
		p := get(n, "properties", name)
		if p == nil {
			p = set(child(n, "", "properties"), name, mapping())
			s.changed(properties[i], "the property %s is added beside the junctor that checks it: v1 wants it declared there", name)
		}
		s.declare(p, properties[i+1])
	}
	for _, junctor := range []string{"allOf", "anyOf", "oneOf"} {
		for _, j := range items(below, junctor) {
			s.declare(n, j)
		}
	}
}

// plainTypes reports whether alternatives say nothing but their types.
func plainTypes(l *yaml.Node) bool {
	for _, j := range l.Content {
		if j.Kind != yaml.MappingNode || len(j.Content) != 2 {
			return false
		}
	}
	return true
}

// bare takes out of a schema below a junctor, and of all below it, what v1 does not allow there.
func (s structural) bare(n *yaml.Node) {
	if n == nil || n.Kind != yaml.MappingNode {
		return
	}
	for _, gone := range []string{"type", "description", "default", "additionalProperties", "nullable", "title"} {
		if key, _ := remove(n, gone); key != nil {
			s.changed(key, "%s is removed below allOf, anyOf, oneOf or not: v1 does not allow it there", gone)
		}
	}
	properties := fields(n, "properties")
	for i := 0; i+1 < len(properties); i += 2 {
		s.bare(properties[i+1])
	}
	s.bare(get(n, "items"))
	s.bare(get(n, "not"))
	for _, junctor := range []string{"allOf", "anyOf", "oneOf"} {
		for _, j := range items(n, junctor) {
			s.bare(j)
		}
	}
}
