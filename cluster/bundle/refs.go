package bundle

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/klkube/kl/cluster/images"
	"github.com/klkube/kl/cluster/statefile"
)

// Ref is an image that a manifest names.
type Ref struct {
	Name  string // as container runtimes write it
	Where string // file:line; empty for a name of the command line
	// Certain is whether a container or a volume needs it. Elsewhere, as in a custom resource, image: may mean something else.
	Certain bool
}

const (
	maxDepth = 200     // of values in values
	maxNodes = 1 << 21 // of one file, aliases resolved: a small file can stand for billions
)

// Refs returns the images that the objects of a file need, in their order, each once: whatever has the key image. Lists of objects are
// read; the data of ConfigMaps and Secrets, and CustomResourceDefinitions, are not. The file is YAML or JSON, with any number of documents.
func Refs(file string, data []byte) ([]Ref, error) {
	s := &scanner{file: file, nodes: maxNodes}
	for d := yaml.NewDecoder(bytes.NewReader(data)); ; {
		var doc yaml.Node
		err := d.Decode(&doc)
		if errors.Is(err, io.EOF) {
			return s.refs, nil
		}
		if err != nil {
			text := strings.Split(strings.TrimPrefix(err.Error(), "yaml: "), "\n")[0]
			return nil, fmt.Errorf("%s is not YAML: %s%s", file, text, rendered(data))
		}
		if err := s.scan(&doc, "", 0); err != nil {
			return nil, err
		}
	}
}

// rendered is advice for a template.
func rendered(data []byte) string {
	if bytes.Contains(data, []byte("{{")) {
		return "; if it is a template, render it first, as with 'helm template . | kl bundle create -f - …'"
	}
	return ""
}

type scanner struct {
	file  string
	nodes int // how many may follow
	refs  []Ref
}

// scan looks for images below a node, which is the value of a key.
func (s *scanner) scan(n *yaml.Node, key string, depth int) error {
	if s.nodes--; s.nodes < 0 || depth > maxDepth {
		return fmt.Errorf("%s:%d: too many values, or too deep", s.file, n.Line)
	}
	switch n.Kind {
	case yaml.AliasNode:
		return s.scan(n.Alias, key, depth+1)
	case yaml.MappingNode:
		return s.mapping(n, key, depth)
	case yaml.DocumentNode, yaml.SequenceNode:
		for _, c := range n.Content {
			if err := s.scan(c, key, depth+1); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *scanner) mapping(n *yaml.Node, key string, depth int) error {
	switch kind := value(n, "kind"); {
	case value(n, "apiVersion") == "":
	case kind == "ConfigMap", kind == "Secret", kind == "CustomResourceDefinition":
		return nil
	case kind == "Kustomization":
		return fmt.Errorf("%s:%d is a kustomization: pass what it makes, 'kubectl kustomize DIR | kl bundle create -f - …'", s.file, n.Line)
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i].Value, n.Content[i+1]
		if v.Kind == yaml.AliasNode {
			v = v.Alias
		}
		certain := key == "containers" || key == "initContainers" || key == "ephemeralContainers" || key == "volumes"
		if k == "image" && key == "volumes" && v.Kind == yaml.MappingNode {
			if r := find(v, "reference"); r != nil {
				v = r
			}
		}
		if k == "image" && v.Kind == yaml.ScalarNode {
			if err := s.add(v, certain); err != nil {
				return err
			}
			continue
		}
		if err := s.scan(v, k, depth+1); err != nil {
			return err
		}
	}
	return nil
}

func (s *scanner) add(v *yaml.Node, certain bool) error {
	where := fmt.Sprintf("%s:%d", s.file, v.Line)
	if v.Value == "" || v.Tag == "!!null" { // as in an ephemeral copy of a template
		return nil
	}
	name, err := images.FullName(v.Value)
	switch {
	case err == nil:
	case !certain:
		return nil // it may be anything
	case strings.Contains(v.Value, "{{"):
		return fmt.Errorf("%s: image %s is a template%s", where, statefile.Shorten(fmt.Sprintf("%q", v.Value), 100), rendered([]byte(v.Value)))
	default:
		return fmt.Errorf("%s: %w", where, err)
	}
	i := slices.IndexFunc(s.refs, func(r Ref) bool { return r.Name == name })
	if i < 0 {
		s.refs = append(s.refs, Ref{Name: name, Where: where, Certain: certain})
	} else if certain && !s.refs[i].Certain {
		s.refs[i].Certain, s.refs[i].Where = true, where
	}
	return nil
}

// find returns the value of a key, nil if there is none.
func find(n *yaml.Node, key string) *yaml.Node {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}

func value(n *yaml.Node, key string) string {
	v := find(n, key)
	if v == nil {
		return ""
	}
	return v.Value
}
