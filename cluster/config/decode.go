package config

import (
	"encoding/json"
	"fmt"
	"math"
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/klkube/kl/cluster"
)

// decode fills a Spec with what the walker has found no fault with. It goes through JSON, because Spec carries json tags only,
// and builds that from the tree itself: written as YAML once more and read by another parser, a key such as No would become
// the boolean false.
func (w *walker) decode(root *yaml.Node, into *cluster.Spec) error {
	data, err := json.Marshal(w.value(root))
	if err != nil {
		return err
	}
	return json.Unmarshal(data, into)
}

// value is a node as encoding/json knows it. What is at fault is left out or, in a list, null.
func (w *walker) value(n *yaml.Node) any {
	if w.faulty[n] || n.Kind == yaml.AliasNode {
		return nil
	}
	switch n.Kind {
	case yaml.MappingNode:
		out := map[string]any{}
		for i := 0; i+1 < len(n.Content); i += 2 {
			key, value := n.Content[i], n.Content[i+1]
			if _, twice := out[key.Value]; key.Kind == yaml.ScalarNode && !twice && !w.faulty[key] && !w.faulty[value] {
				out[key.Value] = w.value(value)
			}
		}
		return out
	case yaml.SequenceNode:
		out := make([]any, len(n.Content))
		for i, e := range n.Content {
			out[i] = w.value(e)
		}
		return out
	}
	return scalar(n)
}

// scalar is the value of a scalar node.
func scalar(n *yaml.Node) any {
	switch n.Tag {
	case "!!null":
		return nil
	case "!!int", "!!float", "!!bool":
		var v any
		if err := n.Decode(&v); err != nil {
			return n.Value
		}
		if f, ok := v.(float64); ok && (math.IsNaN(f) || math.IsInf(f, 0)) { // which JSON does not have
			return n.Value
		}
		return v
	}
	return n.Value
}

// files makes the paths of files absolute, from the directory of the file that names them.
func (w *walker) files(s *cluster.Spec) {
	fields := s.Files()
	for _, path := range sortedKeys(fields) {
		w.fileAt(path, fields[path])
	}
	for _, host := range sortedKeys(s.Registries.CAFiles) {
		file := s.Registries.CAFiles[host]
		w.fileAt("registries.caFiles."+host, &file)
		s.Registries.CAFiles[host] = file
	}
}

func (w *walker) fileAt(path string, given *string) {
	switch {
	case *given == "" || filepath.IsAbs(*given) || cluster.HoldsContent(*given):
		return
	case w.file == "-":
		w.add(w.positions[path], path, "%q is not an absolute path, and standard input has no directory", *given)
	default:
		dir, err := filepath.Abs(filepath.Dir(w.file))
		if err != nil {
			w.add(w.positions[path], path, "%q is not an absolute path: %v", *given, err)
			return
		}
		*given = filepath.Join(dir, *given)
	}
}

// untyped prepares a scalar below a field that holds anything: YAML 1.1's words for true and false are booleans there, as they are
// for kubectl.
func untyped(n *yaml.Node) {
	if n.Kind != yaml.ScalarNode || n.Tag != "!!str" || n.Style != 0 {
		return
	}
	switch strings.ToLower(n.Value) {
	case "yes", "on":
		n.Tag, n.Value = "!!bool", "true"
	case "no", "off":
		n.Tag, n.Value = "!!bool", "false"
	}
}

// wrongKey says what is wrong with a key of a mapping; empty if nothing is.
func wrongKey(key *yaml.Node, first int) string {
	switch {
	case key.Tag == "!!merge":
		return "merge keys are not supported: write the fields out"
	case key.Kind != yaml.ScalarNode:
		return "want a name as key, found " + describe(key)
	case first > 0:
		return fmt.Sprintf("%q stands twice, first on line %d", key.Value, first)
	}
	return ""
}
