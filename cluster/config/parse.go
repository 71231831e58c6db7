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
	w := &walker{file: file, positions: map[string]*yaml.Node{}}
	w.walk(doc, specType(), "")
	spec := cluster.DefaultSpec()
	spec.APIVersion, spec.Kind, spec.Nodes = "", "", nil
	if len(w.problems) > 0 {
		if plain(doc, maxDepth) && decode(doc, &spec) == nil { // values of a wrong type cannot be judged
			judgeWritten(spec, m, w)
		}
		return cluster.Spec{}, w.problems.sorted()
	}
	if err := decode(doc, &spec); err != nil {
		return cluster.Spec{}, fmt.Errorf("decode %s: %w", file, err)
	}
	if spec.Nodes == nil {
		spec.Nodes = cluster.DefaultSpec().Nodes
	}
	if ps := validate(spec, m, w); len(ps) > 0 {
		return cluster.Spec{}, ps.sorted()
	}
	return spec, nil
}

// plain reports whether a tree is nested within bounds and without aliases. The walker does not look below unknown fields.
func plain(n *yaml.Node, depth int) bool {
	if depth == 0 || n.Kind == yaml.AliasNode {
		return false
	}
	return !slices.ContainsFunc(n.Content, func(c *yaml.Node) bool { return !plain(c, depth-1) })
}

// judgeWritten also validates the values of a file with wrong fields. It keeps problems of values that are in the file: a
// missing one may have been meant by a misspelt field.
func judgeWritten(spec cluster.Spec, m Machine, w *walker) {
	form := w.problems
	w.problems = nil
	for _, p := range validate(spec, m, w) {
		if p.Line > 0 {
			form = append(form, p)
		}
	}
	w.problems = form
}

// Check judges a Spec that did not come from a file (flags), as Parse does; the problems have no position.
func Check(spec cluster.Spec, m Machine) error {
	if ps := validate(spec, m, &walker{file: "flags", positions: map[string]*yaml.Node{}}); len(ps) > 0 {
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

// decode goes through JSON because Spec carries json tags only.
func decode(n *yaml.Node, into *cluster.Spec) error {
	b, err := yaml.Marshal(n)
	if err != nil {
		return err
	}
	return k8syaml.Unmarshal(b, into) // the walker is the strict one
}

// View writes a Spec as the YAML that Parse reads.
func View(spec cluster.Spec) ([]byte, error) { return k8syaml.Marshal(spec) }
