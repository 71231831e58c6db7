package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
	k8syaml "sigs.k8s.io/yaml"

	"github.com/klkube/kl/cluster"
)

// MaxSize bounds a configuration file, in bytes: no honest one is near it.
const MaxSize = 1 << 20

// Parse reads a Cluster document, fills in defaults and checks it against the machine. file is used in messages only.
// The error is a [Problems] unless the data could not be a configuration file at all.
func Parse(file string, data []byte, m Machine) (cluster.Spec, error) {
	doc, err := document(file, data)
	if err != nil {
		return cluster.Spec{}, err
	}
	w := newWalker(file)
	w.walk(doc, specType(), "")
	spec := cluster.DefaultSpec()
	spec.APIVersion, spec.Kind, spec.Nodes = "", "", nil
	form := w.problems
	w.problems = nil
	if len(form) > 0 && !plain(doc, maxDepth) { // too deep to be looked at any further
		return cluster.Spec{}, form.sorted()
	}
	if err := w.decode(doc, &spec); err != nil {
		if len(form) > 0 {
			return cluster.Spec{}, form.sorted()
		}
		return cluster.Spec{}, Problems{{File: file, Message: err.Error()}}
	}
	if spec.Nodes == nil {
		spec.Nodes = cluster.DefaultSpec().Nodes
	}
	w.files(&spec)
	if ps := append(form, form.others(validate(spec, m, w))...); len(ps) > 0 {
		return cluster.Spec{}, ps.sorted()
	}
	return spec, nil
}

// others returns the problems that do not follow from those of ps, which are of form: a value that is missing may have been meant by a field
// that is wrong, and one of a wrong type has no meaning.
func (ps Problems) others(meaning Problems) Problems {
	return slices.DeleteFunc(meaning, func(p Problem) bool {
		return len(ps) > 0 && p.Line == 0 || slices.ContainsFunc(ps, func(f Problem) bool { return f.Line == p.Line && f.Column == p.Column })
	})
}

// plain reports whether a tree is nested within bounds and without aliases. The walker does not look below unknown fields.
func plain(n *yaml.Node, depth int) bool {
	if depth == 0 || n.Kind == yaml.AliasNode {
		return false
	}
	return !slices.ContainsFunc(n.Content, func(c *yaml.Node) bool { return !plain(c, depth-1) })
}

// Check judges a Spec that did not come from a file (flags), as Parse does; the problems have no position.
func Check(spec cluster.Spec, m Machine) error {
	if ps := validate(spec, m, newWalker("flags")); len(ps) > 0 {
		return ps
	}
	return nil
}

// document returns the single mapping node of the file.
func document(file string, data []byte) (*yaml.Node, error) {
	if len(data) > MaxSize {
		return nil, Problems{{File: file, Message: fmt.Sprintf("larger than %d bytes: is this a kl configuration?", MaxSize)}}
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc, rest yaml.Node
	switch err := dec.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return nil, Problems{{File: file, Message: "empty: it needs at least apiVersion: " + cluster.APIVersion + " and kind: " + cluster.Kind}}
	case err != nil:
		return nil, syntaxProblem(file, err)
	}
	if err := dec.Decode(&rest); !errors.Is(err, io.EOF) {
		return nil, Problems{{File: file, Line: rest.Line, Column: rest.Column, Message: "a second document: a file holds one cluster"}}
	}
	root := doc.Content[0]
	if root.Kind != yaml.MappingNode {
		return nil, Problems{{File: file, Line: root.Line, Column: root.Column, Message: "want a mapping with apiVersion, kind and nodes, found " + describe(root)}}
	}
	return root, nil
}

// syntaxProblem takes the line out of an error of the YAML parser: "yaml: line 3: did not find …".
func syntaxProblem(file string, err error) Problems {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	p := Problem{File: file}
	if number, rest, ok := strings.Cut(strings.TrimPrefix(text, "line "), ": "); ok {
		if line, err := strconv.Atoi(number); err == nil {
			text, p.Line, p.Column = rest, line, 1
		}
	}
	p.Message = "not valid YAML: " + text
	return Problems{p}
}

// View writes a Spec as the YAML that Parse reads.
func View(spec cluster.Spec) ([]byte, error) { return k8syaml.Marshal(spec) }
