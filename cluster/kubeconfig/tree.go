package kubeconfig

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// A kubeconfig as a YAML tree: a mapping with lists of named things.
const (
	clustersList = "clusters"
	usersList    = "users"
	contextsList = "contexts"
)

// body returns what an item of a list holds beside its name; nil if that is no mapping.
func body(item *yaml.Node, list string) *yaml.Node {
	value := lookup(item, strings.TrimSuffix(list, "s"))
	if value == nil || value.Kind != yaml.MappingNode {
		return nil
	}
	return value
}

// items returns the named items of a list, by name in their order.
func items(root *yaml.Node, list string) []*yaml.Node {
	if l := lookup(root, list); l != nil && l.Kind == yaml.SequenceNode {
		return l.Content
	}
	return nil
}

// find returns the item of that name; nil if there is none.
func find(root *yaml.Node, list, name string) *yaml.Node {
	for _, item := range items(root, list) {
		if text(item, "name") == name {
			return item
		}
	}
	return nil
}

// add appends an item to a list, which is made if it is missing.
func add(root *yaml.Node, list, name string, fields map[string]string) *yaml.Node {
	value := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
	setStrings(value, fields)
	item := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
	item.Content = append(item.Content, str(strings.TrimSuffix(list, "s")), value)
	setString(item, "name", name)
	l := fieldOf(root, list)
	if l.Kind != yaml.SequenceNode { // absent or null
		*l = yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq"}
	}
	if len(l.Content) == 0 {
		l.Style = 0 // "[]" would stay on one line
	}
	l.Content = append(l.Content, item)
	return value
}

// drop removes the items of a list that are not wanted.
func drop(root *yaml.Node, list string, unwanted func(item *yaml.Node) bool) {
	l := lookup(root, list)
	if l == nil || l.Kind != yaml.SequenceNode {
		return
	}
	before := len(l.Content)
	l.Content = slices.DeleteFunc(l.Content, unwanted)
	if len(l.Content) == 0 && before > 0 {
		l.Style = yaml.FlowStyle
	}
}

// text returns a field of a mapping; empty if it is absent.
func text(mapping *yaml.Node, key string) string {
	if mapping == nil {
		return ""
	}
	if value := lookup(mapping, key); value != nil {
		return value.Value
	}
	return ""
}

func str(value string) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: value}
}

// rootOf returns the top mapping of a document, made if it is empty.
func rootOf(doc *yaml.Node) *yaml.Node {
	if doc.Kind == 0 {
		root := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
		setString(root, "apiVersion", "v1")
		setString(root, "kind", "Config")
		*doc = yaml.Node{Kind: yaml.DocumentNode, Content: []*yaml.Node{root}}
	}
	return doc.Content[0]
}

// lookup returns the value of a key of a mapping, nil if it is absent.
func lookup(mapping *yaml.Node, key string) *yaml.Node {
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		if mapping.Content[i].Value != key {
			continue
		}
		if value := mapping.Content[i+1]; value.Kind == yaml.AliasNode {
			return value.Alias
		}
		return mapping.Content[i+1]
	}
	return nil
}

// fieldOf returns the value of a key of a mapping, made null if it is absent.
func fieldOf(mapping *yaml.Node, key string) *yaml.Node {
	if value := lookup(mapping, key); value != nil {
		return value
	}
	value := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null"}
	mapping.Content = append(mapping.Content, str(key), value)
	return value
}

func setString(mapping *yaml.Node, key, value string) {
	field := fieldOf(mapping, key)
	*field = yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: value, LineComment: field.LineComment}
	if value == "" {
		field.Style = yaml.DoubleQuotedStyle
	}
}

// setStrings sets fields of a mapping, and leaves those that have the value already as they are.
func setStrings(mapping *yaml.Node, fields map[string]string) {
	for _, key := range slices.Sorted(maps.Keys(fields)) {
		if text(mapping, key) != fields[key] {
			setString(mapping, key, fields[key])
		}
	}
}

func encodeYAML(doc *yaml.Node) ([]byte, error) {
	var b strings.Builder
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	if err := enc.Encode(doc); err != nil {
		return nil, fmt.Errorf("encode kubeconfig: %w", err)
	}
	return []byte(b.String()), enc.Close()
}
