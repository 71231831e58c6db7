package config

import (
	"fmt"
	"reflect"
	"sort"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/klkube/kl/cluster"
)

func specType() reflect.Type { return reflect.TypeFor[cluster.Spec]() }

// maxDepth bounds nesting: aliases are refused, so depth is all an author can spend.
const maxDepth = 64

// walker compares a YAML tree with a Go type and remembers where each path stands.
type walker struct {
	file      string
	positions map[string]*yaml.Node // path → value
	faulty    map[*yaml.Node]bool   // keys and values that have no use
	problems  Problems
	depth     int
}

func newWalker(file string) *walker {
	return &walker{file: file, positions: map[string]*yaml.Node{}, faulty: map[*yaml.Node]bool{}}
}

func (w *walker) add(n *yaml.Node, path, format string, args ...any) {
	p := Problem{File: w.file, Path: path, Message: fmt.Sprintf(format, args...)}
	if n != nil {
		p.Line, p.Column = n.Line, n.Column
		w.faulty[n] = true
	}
	w.problems = append(w.problems, p)
}

func (w *walker) walk(n *yaml.Node, t reflect.Type, path string) {
	w.positions[path] = n
	if w.depth++; w.depth > maxDepth {
		w.add(n, path, "nested deeper than %d levels", maxDepth)
		return
	}
	defer func() { w.depth-- }()
	if n.Kind == yaml.AliasNode {
		w.add(n, path, "aliases are not supported: write the value out")
		return
	}
	if n.Tag == "!!null" && t.Kind() != reflect.Interface {
		return // an empty value is the default
	}
	switch t.Kind() {
	case reflect.Struct:
		w.walkStruct(n, t, path)
	case reflect.Map:
		w.walkMap(n, t, path)
	case reflect.Slice:
		if n.Kind != yaml.SequenceNode {
			w.add(n, path, "want a list, found %s", describe(n))
			return
		}
		for i, e := range n.Content {
			w.walk(e, t.Elem(), path+"["+strconv.Itoa(i)+"]")
		}
	case reflect.Interface: // anything goes, duplicates aside
		w.walkAny(n, path)
	default:
		w.walkScalar(n, t, path)
	}
}

func (w *walker) walkScalar(n *yaml.Node, t reflect.Type, path string) {
	want := map[reflect.Kind]string{reflect.String: "a string", reflect.Int: "a whole number", reflect.Bool: "true or false"}[t.Kind()]
	ok := n.Kind == yaml.ScalarNode
	switch t.Kind() {
	case reflect.String:
		if ok && numbersAllowed(path) && n.Tag != "!!null" {
			n.Tag, n.Style = "!!str", yaml.DoubleQuotedStyle // cpus: 2 is what people write
		}
		ok = ok && n.Tag == "!!str"
		if n.Kind == yaml.ScalarNode && !ok {
			want = fmt.Sprintf("a string (write %q)", n.Value)
		}
	case reflect.Int:
		_, err := strconv.ParseInt(n.Value, 10, 32)
		ok = ok && n.Tag == "!!int" && err == nil
	case reflect.Bool:
		ok = ok && n.Tag == "!!bool"
	}
	if !ok {
		w.add(n, path, "want %s, found %s", want, describe(n))
	}
}

// numbersAllowed reports whether a string field reads as one without quotes even where YAML sees a number or a boolean:
// quantities and flags do, labels do not (Kubernetes refuses them, and "on" would turn into true).
func numbersAllowed(path string) bool {
	return strings.HasSuffix(path, ".cpus") || strings.HasSuffix(path, ".memory") ||
		strings.HasPrefix(path, "kubernetes.extraArgs.") || strings.HasPrefix(path, "kubernetes.runtimeConfig.")
}

func (w *walker) walkStruct(n *yaml.Node, t reflect.Type, path string) {
	if n.Kind != yaml.MappingNode {
		w.add(n, path, "want fields (%s), found %s", strings.Join(fieldNames(t), ", "), describe(n))
		return
	}
	fields := fieldsOf(t)
	w.eachKey(n, path, func(key, value *yaml.Node) {
		f, ok := fields[key.Value]
		if !ok {
			w.unknown(key, t, path)
			return
		}
		w.walk(value, f, join(path, key.Value))
	})
}

func (w *walker) unknown(key *yaml.Node, t reflect.Type, path string) {
	where := "the document"
	if path != "" {
		where = path
	}
	msg := fmt.Sprintf("unknown field %q in %s", key.Value, where)
	if n := Nearest(key.Value, fieldNames(t)); n != "" {
		msg += fmt.Sprintf("; did you mean %q?", n)
	} else {
		msg += "; it has " + strings.Join(fieldNames(t), ", ")
	}
	w.add(key, "", "%s", msg)
}

func (w *walker) walkMap(n *yaml.Node, t reflect.Type, path string) {
	if n.Kind != yaml.MappingNode {
		w.add(n, path, "want a mapping, found %s", describe(n))
		return
	}
	w.eachKey(n, path, func(key, value *yaml.Node) { w.walk(value, t.Elem(), join(path, key.Value)) })
}

func (w *walker) walkAny(n *yaml.Node, path string) {
	untyped(n)
	switch n.Kind {
	case yaml.MappingNode:
		w.eachKey(n, path, func(key, value *yaml.Node) { w.walk(value, reflect.TypeFor[any](), join(path, key.Value)) })
	case yaml.SequenceNode:
		for i, e := range n.Content {
			w.walk(e, reflect.TypeFor[any](), path+"["+strconv.Itoa(i)+"]")
		}
	}
}

// eachKey calls f for every entry, refusing keys that are not plain strings or stand twice.
func (w *walker) eachKey(n *yaml.Node, path string, f func(key, value *yaml.Node)) {
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		if wrong := wrongKey(key, seen[key.Value]); wrong != "" {
			w.add(key, path, "%s", wrong)
			continue
		}
		seen[key.Value] = key.Line
		f(key, n.Content[i+1])
	}
}

// fieldsOf maps the JSON names of a struct's fields to their types.
func fieldsOf(t reflect.Type) map[string]reflect.Type {
	out := make(map[string]reflect.Type, t.NumField())
	for f := range t.Fields() {
		out[jsonName(f)] = f.Type
	}
	return out
}

func fieldNames(t reflect.Type) []string {
	var out []string
	for f := range t.Fields() {
		out = append(out, jsonName(f))
	}
	sort.Strings(out)
	return out
}

func jsonName(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	return name
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// describe says what a YAML node is, in terms of the file.
func describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	case yaml.AliasNode:
		return "an alias"
	}
	switch n.Tag {
	case "!!null":
		return "nothing"
	case "!!str":
		return fmt.Sprintf("the string %q", n.Value)
	case "!!int", "!!float":
		return "the number " + n.Value
	case "!!bool":
		return n.Value
	}
	return fmt.Sprintf("%q", n.Value)
}
