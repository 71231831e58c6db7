package convert

import (
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// A manifest as a tree of YAML nodes. The helpers here take nil for a field that is absent, and look through no alias: those are
// expanded when a document is read.

// find returns key and value of a field of a mapping; nil if it is absent.
func find(m *yaml.Node, name string) (key, value *yaml.Node) {
	if m == nil || m.Kind != yaml.MappingNode {
		return nil, nil
	}
	for i := 0; i+1 < len(m.Content); i += 2 {
		if m.Content[i].Value == name {
			return m.Content[i], m.Content[i+1]
		}
	}
	return nil, nil
}

// get returns what is at a path of fields; nil if it is absent or null.
func get(n *yaml.Node, path ...string) *yaml.Node {
	for _, name := range path {
		_, n = find(n, name)
	}
	if n != nil && n.Tag == "!!null" {
		return nil
	}
	return n
}

// text returns the scalar at a path; empty if it is absent.
func text(n *yaml.Node, path ...string) string {
	if v := get(n, path...); v != nil && v.Kind == yaml.ScalarNode {
		return v.Value
	}
	return ""
}

// items returns the elements of the list at a path.
func items(n *yaml.Node, path ...string) []*yaml.Node {
	if v := get(n, path...); v != nil && v.Kind == yaml.SequenceNode {
		return v.Content
	}
	return nil
}

// fields returns keys and values of the mapping at a path, by turns.
func fields(n *yaml.Node, path ...string) []*yaml.Node {
	if v := get(n, path...); v != nil && v.Kind == yaml.MappingNode {
		return slices.Clone(v.Content)
	}
	return nil
}

// set gives a field of a mapping a value, at the end if the mapping does not have the field, and returns the value.
func set(m *yaml.Node, name string, value *yaml.Node) *yaml.Node { return insert(m, "", name, value) }

// insert is set, but puts a new field before another one.
func insert(m *yaml.Node, before, name string, value *yaml.Node) *yaml.Node {
	if m == nil || m.Kind != yaml.MappingNode {
		return value // nothing to put it into: a manifest that no API server takes anyway
	}
	at := len(m.Content)
	for i := 0; i+1 < len(m.Content); i += 2 {
		switch m.Content[i].Value {
		case name:
			m.Content[i+1] = value
			return value
		case before:
			at = i
		}
	}
	if len(m.Content) == 0 {
		m.Style &^= yaml.FlowStyle // "{}" would stay on one line
	}
	m.Content = slices.Insert(m.Content, at, plain(name), value)
	return value
}

// child returns the mapping that is a field of m, made before another field if it is absent or null. It returns nil if m or the
// field is something else.
func child(m *yaml.Node, before, name string) *yaml.Node {
	_, v := find(m, name)
	switch {
	case m == nil || m.Kind != yaml.MappingNode:
		return nil
	case v == nil || v.Tag == "!!null":
		made := mapping()
		made.Line = m.Line // for notes about it
		return insert(m, before, name, made)
	case v.Kind != yaml.MappingNode:
		return nil
	}
	return v
}

// list is child for a sequence.
func list(m *yaml.Node, before, name string) *yaml.Node {
	_, v := find(m, name)
	switch {
	case m == nil || m.Kind != yaml.MappingNode:
		return nil
	case v == nil || v.Tag == "!!null":
		made := sequence()
		made.Line = m.Line
		return insert(m, before, name, made)
	case v.Kind != yaml.SequenceNode:
		return nil
	}
	return v
}

// appendTo adds elements to a list, which then stands in lines of its own.
func appendTo(l *yaml.Node, elements ...*yaml.Node) {
	if len(l.Content) == 0 {
		l.Style &^= yaml.FlowStyle
	}
	l.Content = append(l.Content, elements...)
}

// remove takes a field out of a mapping and returns it.
func remove(m *yaml.Node, name string) (key, value *yaml.Node) {
	key, value = find(m, name)
	if key != nil {
		i := slices.Index(m.Content, key)
		m.Content = slices.Delete(m.Content, i, i+2)
	}
	return key, value
}

// rename gives a field another name, in its place.
func rename(m *yaml.Node, from, to string) bool {
	key, _ := find(m, from)
	if key != nil {
		key.Value = to
	}
	return key != nil
}

// become gives a field another name and value, in its place.
func become(m *yaml.Node, from, to string, value *yaml.Node) {
	if rename(m, from, to) {
		set(m, to, value)
	}
}

// plain is a string that needs no quotes, such as the name of a field.
func plain(s string) *yaml.Node { return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: s} }

// str is a string. What YAML 1.1, which Kubernetes reads, takes for something else is quoted.
func str(s string) *yaml.Node {
	n := plain(s)
	if ambiguous(s) {
		n.Style = yaml.DoubleQuotedStyle
	}
	return n
}

func ambiguous(s string) bool {
	if s == "" || strings.Contains("0123456789.+-=~<", s[:1]) {
		return true
	}
	switch strings.ToLower(s) {
	case "y", "n", "yes", "no", "on", "off", "true", "false", "null":
		return true
	}
	return false
}

func integer(i int) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!int", Value: strconv.Itoa(i)}
}

func boolean(b bool) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: strconv.FormatBool(b)}
}

// mapping makes a mapping of names and values, by turns: strings or nodes.
func mapping(pairs ...any) *yaml.Node {
	m := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
	for i := 0; i+1 < len(pairs); i += 2 {
		value, ok := pairs[i+1].(*yaml.Node)
		if !ok {
			value = str(pairs[i+1].(string))
		}
		m.Content = append(m.Content, plain(pairs[i].(string)), value)
	}
	return m
}

func sequence(elements ...*yaml.Node) *yaml.Node {
	return &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq", Content: elements}
}

func stringsOf(words ...string) *yaml.Node {
	l := sequence()
	for _, w := range words {
		l.Content = append(l.Content, str(w))
	}
	return l
}

// words returns the scalars of a list.
func words(n *yaml.Node, path ...string) []string {
	var all []string
	for _, e := range items(n, path...) {
		all = append(all, e.Value)
	}
	return all
}

// copyOf returns a copy of a tree that shares nothing with it, has no anchors, and comments only if they are wanted.
func copyOf(n *yaml.Node, comments bool) *yaml.Node {
	c := *n
	c.Anchor, c.Content = "", make([]*yaml.Node, len(n.Content))
	if !comments {
		c.HeadComment, c.LineComment, c.FootComment = "", "", ""
	}
	for i, e := range n.Content {
		c.Content[i] = copyOf(e, comments)
	}
	return &c
}

// equal reports whether two trees mean the same.
func equal(a, b *yaml.Node) bool {
	if a.Kind != b.Kind || a.ShortTag() != b.ShortTag() || a.Kind == yaml.ScalarNode && a.Value != b.Value {
		return false
	}
	return slices.EqualFunc(a.Content, b.Content, equal)
}
