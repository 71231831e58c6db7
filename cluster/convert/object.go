package convert

import (
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"
)

// object is one Kubernetes object of a document.
type object struct {
	node      *yaml.Node
	api, kind string // as they are in the source
	called    string // kind and name in the source
	first     int    // line of the file that the document begins on, from 0
	c         *converter
	twice     []*yaml.Node // keys of its document that were removed because the name stands twice
}

// read takes apiVersion, kind and name from the tree.
func (o *object) read() {
	o.api, o.kind = text(o.node, "apiVersion"), text(o.node, "kind")
	name := text(o.node, "metadata", "name")
	if name == "" {
		name = text(o.node, "metadata", "generateName")
	}
	if ns := text(o.node, "metadata", "namespace"); ns != "" {
		name = ns + "/" + name
	}
	o.called = strings.TrimSpace(o.kind + " " + name)
}

// changed notes a change, at the line of a node; at the object's line if the node was not read.
func (o *object) changed(at *yaml.Node, format string, args ...any) { o.note(false, at, format, args) }

// left notes what a person has to do.
func (o *object) left(at *yaml.Node, format string, args ...any) { o.note(true, at, format, args) }

func (o *object) note(left bool, at *yaml.Node, format string, args []any) {
	if at == nil || at.Line == 0 {
		at = o.node
	}
	o.c.result.Notes = append(o.c.result.Notes, Note{Line: o.first + at.Line, Object: o.called, Text: fmt.Sprintf(format, args...), Left: left})
}

// moved gives a field that was made of an annotation the comment above the annotation.
func (o *object) moved(from, m *yaml.Node, field string) {
	if key, _ := find(m, field); key != nil && key.Line == 0 && key.HeadComment == "" && from.HeadComment != "" {
		key.HeadComment = from.HeadComment
		o.c.carried[from] = true
	}
}

// list converts the elements of a list, and reports whether the object is one.
func (o *object) list() bool {
	_, l := find(o.node, "items")
	if !strings.HasSuffix(o.kind, "List") || l == nil || l.Kind != yaml.SequenceNode {
		return false
	}
	element := strings.TrimSuffix(o.kind, "List") // empty for any kind
	for _, e := range l.Content {
		if e.Kind != yaml.MappingNode {
			continue
		}
		if k, _ := find(e, "kind"); k == nil && element != "" {
			front := mapping("apiVersion", o.api, "kind", element)
			e.Content = append(front.Content, e.Content...)
		}
		item := &object{node: e, first: o.first, c: o.c}
		if item.read(); item.kind == "" || item.api == "" {
			continue
		}
		if reason := o.c.object(item); reason != "" {
			o.c.out[e] = reason
		}
	}
	if len(o.c.extra) > 0 {
		appendTo(l, o.c.extra...)
		o.c.extra = nil
	}
	if element != "" && o.c.rules[o.api+" "+element].gone != "" {
		set(o.node, "apiVersion", str("v1"))
		set(o.node, "kind", str("List"))
		o.changed(o.node, "kind %s of %s is now a List of v1, and each element says what it is", o.kind, o.api)
	}
	return true
}

// convert brings the object up to date. It returns why it cannot be; empty if it was, or needs nothing.
func (o *object) convert() string {
	r, ok := o.c.rules[o.api+" "+o.kind]
	if !ok {
		r, ok = o.c.rules[o.api+" *"]
	}
	if ok && r.instead != "" {
		return r.instead
	}
	if ok {
		if r.fix != nil {
			if reason := r.fix(o); reason != "" {
				return reason
			}
		}
		o.retype(r)
	}
	o.everywhere()
	return ""
}

// retype gives the object today's apiVersion and kind.
func (o *object) retype(r rule) {
	_, at := find(o.node, "apiVersion")
	kind := r.kind
	if kind == "" {
		kind = o.kind
	}
	text := fmt.Sprintf("%s is now %s", o.api, r.to)
	if kind != o.kind {
		text = fmt.Sprintf("%s %s is now %s %s", o.api, o.kind, r.to, kind)
	}
	o.changed(at, "%s: Kubernetes %s and newer do not serve the old version", text, r.gone)
	set(o.node, "apiVersion", like(at, r.to))
	if kind != o.kind {
		_, at := find(o.node, "kind")
		set(o.node, "kind", like(at, kind))
	}
}

// like returns a string with the comment and the line of another node.
func like(old *yaml.Node, value string) *yaml.Node {
	n := str(value)
	if old != nil {
		n.Line, n.Column, n.LineComment = old.Line, old.Column, old.LineComment
		if old.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle) != 0 {
			n.Style = old.Style
		}
	}
	return n
}

// everywhere converts what does not depend on the version of the object.
func (o *object) everywhere() {
	o.metadata()
	if strings.Contains(text(o.node, "metadata", "name"), "{{") {
		o.left(o.node, "metadata.name has {{ in it: a template has to be filled in first")
	}
	for _, t := range o.podTemplates() {
		t.convert()
	}
	switch o.kind {
	case "Service":
		o.protocols(items(o.node, "spec", "ports"))
		o.service()
	case "ReplicationController":
		if get(o.node, "spec", "selector") == nil && get(o.node, "spec", "template", "metadata", "labels") == nil {
			o.left(o.node, "no selector, and no labels in the pod template to make one of: add both")
		}
	case "PersistentVolumeClaim":
		o.claim(o.node)
	case "PersistentVolume":
		o.volume()
	case "StorageClass":
		o.storageClass()
	case "Namespace":
		o.namespace()
	case "Node":
		o.machine()
	case "StatefulSet", "PetSet":
		for _, c := range items(o.node, "spec", "volumeClaimTemplates") {
			o.claim(c)
		}
	case "Role", "ClusterRole":
		o.roleRules()
	case "HorizontalPodAutoscaler":
		o.scaleTarget()
	}
}
